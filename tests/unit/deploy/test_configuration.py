"""A Serve YAML that cannot work: one line that names the file, the field and the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.applications import Prepared
from deploy.progress import Failed

SEMANTIC = "applications: [{name: x, import_path: 'services.semantic.deployment:build', %s}]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; a Serve YAML is a mapping with the key `applications`"),
        ("[1, 2]", "holds a list of 2; a Serve YAML is a mapping with the key `applications`"),
        ("street", "holds 'street'; a Serve YAML is a mapping with the key `applications`"),
        ("proxy_location: HeadOnly", "applications: is missing"),
        ("applications: []", "applications: at least one, not an empty list"),
        ("applications: 3", "applications: should be a list, not 3"),
        ("applications: [street]", "applications[0]: should be a mapping, not 'street'"),
        ("applications: [{name: x}]", "applications[0].import_path: is missing"),
        (
            SEMANTIC % "deployments: [{name: Semantic, num_replicas: -1}]",
            "applications[0].deployments[0].num_replicas: should be greater than 0, not -1",
        ),
        (SEMANTIC % "args: {model: street, thraeds: 2}", "application x: thraeds: there is no such field"),
        (SEMANTIC % "args: {model: street, threads: many}", "application x: threads: should be an integer, not 'many'"),
        (
            SEMANTIC % "args: {model: street}, deployments: [{name: Semantic, user_config: {max_batch: 0}}]",
            "application x: max_batch: should be greater than or equal to 1, not 0",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    with pytest.raises(Failed) as caught:
        Prepared.read(path)
    assert str(caught.value) == f"{path}: {said}"


def test_so_is_a_file_that_is_no_yaml_or_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    for content in (b"a: [\n  b", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(Failed, match="no YAML") as caught:
            Prepared.read(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(Failed, match=r"absent\.yaml: No such file"):
        Prepared.read(tmp_path / "absent.yaml")
