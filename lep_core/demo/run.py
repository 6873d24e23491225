"""The demo: the whole path on the generated world, from a corpus to a measured, adapted instruct model.

    python -m lep_core demo --output lep-demo

Not a stage but a caller of them, like `lep_core.adapt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lep_core.adapt import AdaptReport, adapt
from lep_core.config import PAPER_METHODS, AdaptConfig, DemoConfig
from lep_core.demo.corpora import write_corpora
from lep_core.demo.path import demo_pair
from lep_core.demo.settings import DEMO_SETTINGS
from lep_core.files import clear_output, write_json
from lep_core.pipeline import REPORT_FILE, report_record
from lep_core.progress import SILENT, Reporter


def demo(config: DemoConfig, reporter: Reporter = SILENT) -> AdaptReport:
    """Write the demo's texts, take (or train) its base and instruct model, adapt them and measure the outcome.

    Raises:
        LepError: the output folder is in use, or the pair that ships is missing or damaged.
    """
    output = Path(config.output)
    clear_output(output, overwrite=config.overwrite)
    reporter.stage("writing the demo's texts")
    files = write_corpora(output / "text", config.seed)
    write_json(output / REPORT_FILE, report_record("demo", config))
    if config.rebuild_pair:
        from lep_core.demo.pair import train_pair

        base, instruct = train_pair(output / "pair", seed=config.seed, reporter=reporter)
    else:
        base, instruct = demo_pair()
    chosen: dict[str, Any] = {**DEMO_SETTINGS, "steps": config.steps}
    settings = AdaptConfig(
        base=str(base),
        instruct=str(instruct),
        input=(str(files.russian_corpus),),
        replay=(str(files.english_corpus),),
        items=(str(files.items),),
        output=str(output / "adapted"),
        method=PAPER_METHODS,
        seed=config.seed,
        **chosen,
    )
    report = adapt(settings, reporter)
    write_json(output / REPORT_FILE, report_record("demo", config, report))
    return report
