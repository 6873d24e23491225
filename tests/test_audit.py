"""The audit of the pins fails on a known vulnerability and says what it could not look up."""

from tests.audit import report


def test_a_known_vulnerability_fails_and_is_named(capsys):
    packages = [
        {"name": "good", "version": "1.0", "vulns": []},
        {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]},
    ]
    assert report(packages) == 1
    assert "bad 2.0: PYSEC-1 (2.1)" in capsys.readouterr().out


def test_packages_that_were_not_looked_up_are_counted(capsys):
    packages = [{"name": "good", "version": "1.0", "vulns": []}, {"name": "unknown", "skip_reason": "not found"}]
    assert report(packages) == 0
    assert "1 packages looked up, 0 known vulnerabilities, 1 packages not in the data base" in capsys.readouterr().out
