import torch

from lep_core.propagation import moved
from lep_core.propagation.propagate import fit_warnings
from lep_core.propagation.report import FitReport
from lep_core.tokenizer.load import as_tokenizer
from lep_core.tokenizer.mapping import build_mapping


def test_the_move_of_shared_rows_is_that_of_their_norms_also_when_sampled(tiny, monkeypatch):
    old, new = tiny(vocab_size=330), tiny(vocab_size=400)
    mapping = build_mapping(as_tokenizer(old), as_tokenizer(new))
    base_UD = torch.randn(330, 8, generator=torch.Generator().manual_seed(0))
    adapted_VD = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))
    adapted_VD[mapping.shared_new_ids] = base_UD[mapping.shared_old_ids] * 1.25
    assert abs(moved.moved_shared_rows(base_UD, adapted_VD, mapping) - 0.25) < 1e-6
    monkeypatch.setattr(moved, "SAMPLED_TOKENS", 20)
    assert abs(moved.moved_shared_rows(base_UD, adapted_VD, mapping) - 0.25) < 1e-6


def test_a_large_move_is_a_warning_of_its_side_with_what_to_do():
    near, far = (FitReport(tokens=9, old_tokens=9, hidden_size=4, moved_shared=moved) for moved in (1.0, 1.6))
    assert not fit_warnings("swap", "head", near)
    (warning,) = fit_warnings("swap", "head", far)
    assert "moved by 160% of their length, more than 150%" in warning
    assert "residual-carry" in warning
    assert fit_warnings("swap", "input embedding", near)
