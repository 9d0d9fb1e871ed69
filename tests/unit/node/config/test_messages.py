"""What a PACS administrator types wrong, and the one line that says where, what and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from node.config.file import read_config
from node.config.messages import MAX_LINES
from node.errors import ConfigError

SMALLEST: Final = '[node]\nae_title = "NODE"\n'
PACS: Final = (
    '[[node.destination]]\nname = "pacs"\nkind = "dicom"\nae_title = "P"\nport = 1\nhost = "x"\n'
)
FOLDER: Final = '[[node.destination]]\nname = "a"\nkind = "folder"\npath = "o"\n'
RULE: Final = '[[select.rule]]\nname = "r"\n'
KINDS: Final = 'set kind = "dicom" or "dicomweb" or "folder"'
AE_RULE: Final = "an AE title has 1 to 16 ASCII characters, no backslash and no space at either end"


def _lines(tmp_path: Path, content: str | bytes) -> list[str]:
    path = tmp_path / "config.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refused:
        read_config(path)
    assert refused.value.exit_code == 2
    lines = str(refused.value).splitlines()
    assert all(line.startswith(str(path)) for line in lines)
    return [line.removeprefix(f"{path}:").strip() for line in lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SMALLEST + FOLDER + 'profile = "weasi"\n',
            '7: "node.destination.profile" must be "dicom-viewer", "weasis", "archive-only" or "images-only", not "weasi"; did you mean "weasis"?',
        ),
        (
            SMALLEST + FOLDER + 'seg_form = "label-map"\n',
            '7: "node.destination.seg_form" must be "default", "binary", "fractional" or "labelmap", not "label-map"; did you mean "labelmap"?',
        ),
        (
            SMALLEST + FOLDER + 'compress = "jpeg2000"\n',
            '7: "node.destination.compress" must be "none" or "rle", not "jpeg2000"',
        ),
        (
            SMALLEST + FOLDER + 'objects = ["seg.dcm", "sumery.dcm"]\n',
            '7: "node.destination.objects" must be "seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm", "summary.dcm", "report.dcm" or "surface.dcm", not "sumery.dcm"; did you mean "summary.dcm"?',
        ),
        (
            SMALLEST + FOLDER + 'profil = "weasis"\n',
            '7: unknown key "node.destination.profil"; did you mean "profile"?',
        ),
        (
            SMALLEST + 'profile = "weasis"\n',
            '3: unknown key "node.profile"; it belongs to [[node.destination]]',
        ),
        # keys
        (SMALLEST + "prot = 104\n", '3: unknown key "node.prot"; did you mean "port"?'),
        (SMALLEST + "[reciev]\n", '3: unknown key "reciev"; did you mean "receive"?'),
        (
            SMALLEST + "\n# c\n[track]\nquiet_secs = 3\n",
            '6: unknown key "track.quiet_secs"; did you mean "quiet_seconds"?',
        ),
        (
            SMALLEST + FOLDER + PACS.replace("host", "hots") + 'host = "x"\n',
            '12: unknown key "node.destination.hots"; did you mean "host"?',
        ),
        (
            SMALLEST + "[receive]\nport = 104\n",
            '4: unknown key "receive.port"; it belongs to [node] or [[node.destination]] or [[pull.source]] or [metrics] or [web]',
        ),
        (
            SMALLEST + "settle_seconds = 5\n",
            '3: unknown key "node.settle_seconds"; it belongs to [track]',
        ),
        (
            SMALLEST + FOLDER.replace("node.destination", "destination"),
            '3: unknown key "destination"; it belongs to [[node.destination]]',
        ),
        (
            SMALLEST + FOLDER.replace("node.destination", "rule"),
            '3: unknown key "rule"; it belongs to [[pull.rule]] or [[select.rule]]',
        ),
        (
            SMALLEST + PACS + "prove = true\n",
            '9: unknown key "node.destination.prove"; it is now proof: "auto" instead of true, "none" instead of false',
        ),
        (
            SMALLEST + PACS + "verify_storage = false\n",
            '9: unknown key "node.destination.verify_storage"; it is now proof: "auto" instead of true, "none" instead of false',
        ),
        (
            SMALLEST + FOLDER + "max_tries = 20\n",
            '7: unknown key "node.destination.max_tries"; it is now patience_days: how long a delivery is retried, not how often',
        ),
        ("", "1: section [node] is missing; it needs at least ae_title"),
        ('[node]\nhost = "h"\n', '1: "node.ae_title" is missing; it has no default'),
        (
            SMALLEST + PACS.replace('host = "x"\n', ""),
            '3: "node.destination.host" is missing; it has no default',
        ),
        # kinds of tables
        (
            SMALLEST + PACS.replace('kind = "dicom"\n', ""),
            f'3: "node.destination.kind" is missing; {KINDS}',
        ),
        (
            SMALLEST + PACS.replace('"dicom"', '"ftp"'),
            f'3: "node.destination.kind" is "ftp"; {KINDS}',
        ),
        (
            SMALLEST + PACS.replace('"dicom"', '"DICOM"'),
            f'3: "node.destination.kind" is "DICOM"; {KINDS}',
        ),
        (
            SMALLEST + PACS.replace("[[node.destination]]", "[node.destination]"),
            '3: "node.destination" is one table; write its header in double brackets, [[…]]',
        ),
        ('node = "x"\n', '1: "node" must be a section, written as [node]'),
        # values
        (
            '[node]\nae_title = "SEVENTEEN LETTERS"\n',
            f'2: "node.ae_title": {AE_RULE} (this one has 17)',
        ),
        ('[node]\nae_title = ""\n', f'2: "node.ae_title": {AE_RULE} (this one has 0)'),
        ('[node]\nae_title = "RÖNTGEN"\n', f'2: "node.ae_title": {AE_RULE} (this one has 7)'),
        (
            SMALLEST + '[receive]\ncalled_ae_titles = ["A", "B "]\n',
            f'4: "receive.called_ae_titles": {AE_RULE} (this one has 2)',
        ),
        (
            SMALLEST + '[receive]\ncalled_ae_titles = "A"\n',
            '4: "receive.called_ae_titles" must be a list, as ["…"], not "A"',
        ),
        (SMALLEST + "port = 70000\n", '3: "node.port" must be at most 65535, not 70000'),
        (
            SMALLEST + 'port = "104"\n',
            '3: "node.port" must be a whole number without quotes, not "104"',
        ),
        (
            SMALLEST + "port = true\n",
            '3: "node.port" must be a whole number without quotes, not true',
        ),
        (
            SMALLEST + "port = 104.5\n",
            '3: "node.port" must be a whole number without quotes, not 104.5',
        ),
        (
            SMALLEST + PACS + 'withdraw = "yes"\n',
            '9: "node.destination.withdraw" must be true or false, without quotes, not "yes"',
        ),
        (
            SMALLEST + '[track]\nquiet_seconds = "30"\n',
            '4: "track.quiet_seconds" must be a number without quotes, not "30"',
        ),
        (
            SMALLEST + "[track]\nquiet_seconds = 0\n",
            '4: "track.quiet_seconds" must be more than 0, not 0',
        ),
        (
            SMALLEST + "[track]\nquiet_seconds = inf\n",
            '4: "track.quiet_seconds" must be a finite number, not inf',
        ),
        (
            SMALLEST + "[track]\nquiet_seconds = nan\n",
            '4: "track.quiet_seconds" must be a finite number, not nan',
        ),
        (
            SMALLEST + "name = 1990-01-01\nhost = 5\n",
            '4: "node.host" must be a text in quotes, as "…", not 5',
        ),
        (SMALLEST + 'state = ""\n', '3: "node.state": must not be empty; give a folder'),
        (
            SMALLEST + 'station = "magnetom-of-ward-7"\n',
            '3: "node.station" must have at most 16 characters, not "magnetom-of-ward-7"',
        ),
        (
            SMALLEST + '[results]\nmanufacturer = "a\\\\b"\n',
            '4: "results.manufacturer": must not contain a backslash or a control character (DICOM PS3.5 6.2)',
        ),
        (
            SMALLEST + '[model]\nengine = "tensorrt"\n',
            '4: "model.engine" must be "auto", "torch" or "openvino", not "tensorrt"',
        ),
        (
            SMALLEST + '[[receive.caller]]\nname = "mr"\naddresses = ["10.1.0.0/99"]\n',
            '5: "receive.caller.addresses": "10.1.0.0/99" is not an IP address or network; write e.g. "10.1.2.3" or "10.1.0.0/16"',
        ),
        (
            SMALLEST + '[[receive.caller]]\nname = "mr"\naddresses = []\n',
            '5: "receive.caller.addresses" must have at least 1 entry',
        ),
        (
            SMALLEST + '[receive]\ncalling_ae_titles = ["MR1"]\n',
            '4: unknown key "receive.calling_ae_titles"; write a [[receive.caller]] with ae_title and addresses for each sender',
        ),
        (
            SMALLEST + '[receive]\npeers = ["10.1.0.0/16"]\n',
            '4: unknown key "receive.peers"; write a [[receive.caller]] with addresses for each sender',
        ),
        (
            SMALLEST + '[receive]\ntls = "mutual"\n[tls]\ncertificate = "c"\nprivate_key = "k"\n',
            '5: "tls": [receive] tls = "mutual" needs [tls] trusted; set them',
        ),
        (
            SMALLEST + '[receive]\ntls = "server"\n',
            '1: "tls": [receive] tls = "server" needs [tls] certificate and private_key; set them',
        ),
        (
            SMALLEST + '[tls]\ncertificate = "c"\n',
            '3: "tls": private_key is missing; certificate and private_key are a pair',
        ),
        (
            SMALLEST
            + '[[node.destination]]\nname = "w"\nkind = "dicomweb"\nurl = "pacs:8042/dicom-web"\n',
            '6: "node.destination.url": must be an address as "http://host:8042/dicom-web"',
        ),
        (
            SMALLEST + FOLDER.replace('"a"', '"a b"'),
            '4: "node.destination.name": must be 1 to 64 letters, digits, dots, hyphens or underscores, beginning with a letter or digit',
        ),
        # rules between keys
        (
            SMALLEST + FOLDER + FOLDER,
            '3: "node.destination": two destinations are named "a"; rename one',
        ),
        (SMALLEST + RULE, '3: "select.rule": the rule has no predicates; set all or any'),
        (
            SMALLEST + RULE + 'all = ["is_t2_spase"]\n',
            '5: "select.rule.all": unknown predicate "is_t2_spase"; did you mean "is_t2_space"?',
        ),
        (
            SMALLEST + RULE + 'all = "is_mr"\n',
            '5: "select.rule.all" must be a list, as ["…"], not "is_mr"',
        ),
        (
            SMALLEST + "[receive]\ndisk_low_mb = 9\ndisk_high_mb = 8\n",
            '3: "receive": disk_high_mb is below disk_low_mb; make it the larger one',
        ),
        (
            SMALLEST + "[receive]\nmax_associations = 4\n",
            '3: "receive": reserved_associations leaves none of 4 for new senders; make it smaller than max_associations',
        ),
        (
            SMALLEST + FOLDER + "max_wait_seconds = 1\n",
            '3: "node.destination": max_wait_seconds is below first_wait_seconds; make it the larger one',
        ),
        (
            SMALLEST + '[track]\nexpected_count = "query"\nquery = "pax"\n' + PACS,
            '3: "track": query = "pax" is not a dicom or dicomweb destination; did you mean "pacs"?; name the sender, or set expected_count = "header"',
        ),
        (
            SMALLEST + '[track]\nexpected_count = "query"\n',
            '3: "track": query = "" is not a dicom or dicomweb destination; none is configured; name the sender, or set expected_count = "header"',
        ),
        (
            SMALLEST + '[training.schedule]\ncron = "0 3 * *"\n',
            '4: "training.schedule.cron": "0 3 * *" has 4 fields, not five; write e.g. "0 3 * * sun"',
        ),
    ],
)
def test_wrong_key_is_named_with_its_line_and_the_remedy(
    tmp_path: Path, text: str, expected: str
) -> None:
    lines = _lines(tmp_path, text)
    assert expected in lines


def test_every_error_is_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = '[node]\nae_titel = "N"\nprot = 1\n[track]\nquiet = 3\nquery = 7\n'
    assert [line.split(":")[0] for line in _lines(tmp_path, text)] == ["1", "2", "3", "5", "6"]


def test_another_programs_file_gives_a_bounded_answer(tmp_path: Path) -> None:
    text = SMALLEST + "".join(f"key{n} = {n}\n" for n in range(100))
    lines = _lines(tmp_path, text)
    assert len(lines) == MAX_LINES
    assert lines[-1].endswith("(80 more)")


def test_text_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (line,) = _lines(tmp_path, "[node\n")
    assert "(at line 1, column 6)" in line
    (line,) = _lines(tmp_path, SMALLEST.encode("utf-16"))
    assert line == "is not UTF-8 text; save it as UTF-8"
    (line,) = _lines(tmp_path, SMALLEST + "state = C:\\state\n")
    assert "line 3" in line


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.encode())
    assert read_config(path).node.ae_title == "NODE"


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the file with --config"):
        read_config(tmp_path / "absent.toml")


def test_no_password_of_an_address_is_shown(tmp_path: Path) -> None:
    url = "http://user:hunter2@host"
    web = f'[[node.destination]]\nname = "w"\nkind = "dicomweb"\nurl = "{url}/x?token=hunter2"\n'
    for wrong in (web, web.replace('"dicomweb"', f'"{url}"'), f'port = "{url}"\n'):
        assert "hunter2" not in "\n".join(_lines(tmp_path, SMALLEST + wrong))


@pytest.mark.parametrize(
    "link",
    [
        "viewer?s={study}", "javascript:alert({study})", "http://v/{study} x", 'http://v/\\"{study}', "http://v/<{study}>",
        "http://v/\\u001b[2J{study}", "http://v/{study}\\n", "http://v/ü{study}", "ftp://v/{study}", "http://{}/{study}",
        "http://v/", "http://v/{result}", "http://v/{study}{patient}", "http://v/{study}{", "http://v/{study!r}",
        "http://v/{study.__class__}", "http://v/{study}" + "a" * 500,
    ],
)  # fmt: skip
def test_a_link_that_is_none_is_refused(tmp_path: Path, link: str) -> None:
    (line,) = _lines(tmp_path, f'{SMALLEST}[results]\nviewer = "{link}"\n')
    assert line.startswith('4: "results.viewer"'), line
    assert "\x1b" not in line


def test_a_link_may_be_empty_or_name_study_and_result(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for link in ("", "https://v:8443/o/viewer?StudyInstanceUIDs={study}&result={result}#x"):
        path.write_text(f'{SMALLEST}[results]\nviewer = "{link}"\n', encoding="utf-8")
        assert read_config(path).results.viewer == link
