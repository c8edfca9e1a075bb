"""Settings come from a file and from the environment, and a wrong one is named."""

from pathlib import Path

import pytest

from dualpath.errors import InputError
from dualpath.serving.settings import Settings, read

HASH = "ab" * 32
FILE = f"""
body_limit = 5000
cors_origins = ["https://shop.example"]

[anonymous]
scopes = ["features"]
rate = 5

[[keys]]
name = "ranker"
sha256 = "{HASH}"
scopes = ["features", "rank"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "serving.toml"
    made.write_text(FILE)
    return made


def test_the_environment_goes_before_the_file(file: Path) -> None:
    found = read(file, {"DUALPATH_SERVING_BODY_LIMIT": "70", "DUALPATH_SERVING_CORS_ORIGINS": '["*"]', "HOME": "/"})
    assert (found.body_limit, found.cors_origins) == (70, ("*",))
    [key] = found.keys
    assert (key.name, key.scopes, key.rate, key.burst) == ("ranker", {"features", "rank"}, 100, 200)
    assert found.anonymous and found.anonymous.rate == 5


def test_keys_may_be_in_the_environment_alone() -> None:
    text = f'[{{"name": "a", "sha256": "{HASH}", "scopes": ["admin"]}}]'
    assert [key.name for key in read(None, {"DUALPATH_SERVING_KEYS": text}).keys] == ["a"]
    assert read(None, {}) == Settings()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("body_limit = 5000", "body_limit = 0", "body_limit: Input should be greater than 0"),
        ("body_limit = 5000", "limit = 5000", "limit: Extra inputs are not permitted"),
        ("body_limit = 5000", "body_limit = ", "cannot be read from"),
        (HASH, "secret", r"keys\.0\.sha256: String should match pattern"),
        ('"rank"]', '"write"]', r"keys\.0\.scopes\.\d: Input should be 'features', 'rank', 'replay' or 'admin'"),
        ('name = "ranker"', 'name = "anonymous"', "two keys have the same name or hash, anonymous"),
        ("[anonymous]", f'[[keys]]\nname = "b"\nsha256 = "{HASH}"\nscopes = []\n[anonymous]', f"same .* hash, {HASH}"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(file: Path, old: str, new: str, said: str) -> None:
    file.write_text(FILE.replace(old, new, 1))
    with pytest.raises(InputError, match=said) as raised:
        read(file, {})
    assert str(file) in raised.value.message


def test_a_wrong_key_is_not_printed(file: Path) -> None:
    file.write_text(FILE.replace(HASH, "my secret"))
    with pytest.raises(InputError) as raised:
        read(file, {})
    assert "my secret" not in raised.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read from .*none\.toml"):
        read(tmp_path / "none.toml", {})
