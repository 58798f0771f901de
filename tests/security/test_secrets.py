"""Secrets by name, by value and by their place in a URL."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmlab.config.secrets import veil_override
from fmlab.sweep.storage import open_storage
from fmlab.terminal import redaction
from fmlab.terminal.escaping import safe_log, shown
from fmlab.terminal.redaction import hidden, hidden_message, looks_secret, names_secret, redacted


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    redaction.forget()
    yield
    redaction.forget()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://h/db?user=u&password=PW", "postgresql://h/db?user=u&password=***"),
        ("//u:a/b@h", "//u:***@h"),
        ("postgresql://u:a/b@h/db", "postgresql://u:***@h/db"),
        ("mysql://u:p@ss:w?rd#x@host:5432/db?x=1", "mysql://u:***@host:5432/db?x=1"),
        ("x://u:PW@h/d?sslmode=y&sslpassword=PW&sslkey=PW", "x://u:***@h/d?sslmode=y&sslpassword=***&sslkey=***"),
        ("https://ghp_token@github.com/x.git", "https://***@github.com/x.git"),
        ("redis://:PW@h:1/0", "redis://:***@h:1/0"),
        ("postgres://u:12?PW@h", "postgres://u:***@h"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3DPW", "mssql+pyodbc:///?odbc_connect=***"),
        ("jdbc:postgresql://h/db?user=u;password=PW", "jdbc:postgresql://h/db?user=u;password=***"),
        ("see 'postgresql://u:PW@h/db' now", "see 'postgresql://u:***@h/db' now"),
        ("https://b/k?X-Amz-Signature=PW&X-Amz-Date=1", "https://b/k?X-Amz-Signature=***&X-Amz-Date=1"),
        ("x://h/d?p%61ssword=PW&PASSWD=PW", "x://h/d?p%61ssword=***&PASSWD=***"),
        ("https://h/#access_token=PW", "https://h/#access_token=***"),
        ("https://h/x?next=https%3A%2F%2Fu%3APW%40h", "https://h/x?next=***"),
    ],
)
def test_every_form_of_a_secret_in_a_url_is_hidden(url: str, wanted: str) -> None:
    assert hidden(url) == wanted
    assert redacted({"storage": [url]}) == {"storage": [wanted]}


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me@host/db",
        "postgresql://host:5432/db?user=me@corp&x=1",
        "https://host:8080/a",
        "https://host/path@2x.png",
        "sqlite:////tmp/x.db",
        "grpc://localhost:80",
        "http://[::1]:80/x",
        "a // b: c@d",
        "runs/a@b:c",
    ],
)
def test_urls_without_secrets_stay(url: str) -> None:
    assert hidden(url) == url


def test_names_of_secrets() -> None:
    secret = "AWS_SECRET_ACCESS_KEY PGPASSWORD GITHUB_TOKEN awsAccessKey HF_TOKEN2 PASSPHRASE api_key client_secret"
    assert [n for n in secret.split() if not looks_secret(n)] == []
    assert [n for n in ("num_tokens", "tokenizer", "key_column", "secretary", "dim") if looks_secret(n)] == []
    assert [
        n for n in ("MYSQL_PWD", "DB_PASS", "GITHUB_PAT", "GCP_CREDS", "COOKIE", "pwd", "sig") if not names_secret(n)
    ] == []


def test_a_known_value_is_hidden_everywhere() -> None:
    redaction.remember_environment({"MY_TOKEN": "abc%2Fdef-123", "PWD": "/home/someone", "A_KEY": "short"})
    assert hidden("x abc%2Fdef-123 abc/def-123 y") == "x *** *** y"
    assert hidden("in /home/someone, short") == "in /home/someone, short"
    assert redacted({"tags": ["a-abc/def-123"], "n": 3, "on": True}) == {"tags": ["a-***"], "n": 3, "on": True}


def test_a_message_of_a_driver_hides_its_assignments() -> None:
    assert hidden_message("host=x user=u password='P W' key=3") == "host=x user=u password=*** key=3"
    assert hidden_message("storage='host=x password=PW dbname=\"d\"'") == "storage='host=x password=*** dbname=\"d\"'"


def test_secrets_in_lists_become_references() -> None:
    vault: dict[str, str] = {}
    line = veil_override("tags=[plain,'https://u:p w@h/x',{a: 'redis://:pw@h'}]", vault)
    assert line == "tags=[plain,${secret:FMLAB_SECRET_TAGS_0},{a: ${secret:FMLAB_SECRET_TAGS_1}}]"
    assert list(vault.values()) == ["https://u:p w@h/x", "redis://:pw@h"]


def test_a_traceback_in_the_log_has_no_secret(tmp_path: Path) -> None:
    redaction.remember("hunter2hunter2")
    handler = logging.FileHandler(tmp_path / "run.log")
    log = logging.getLogger("fmlab.test")
    log.addHandler(handler)
    try:
        with safe_log():
            try:
                raise ValueError("no: postgresql://u:hunter2hunter2@h and hunter2hunter2 \x1b[31m")
            except ValueError:
                log.exception("failed with %s", "hunter2hunter2")
    finally:
        log.removeHandler(handler)
        handler.close()
    text = (tmp_path / "run.log").read_text()
    assert "hunter2" not in text
    assert "\x1b" not in text
    assert "ValueError: no: postgresql://u:***@h and *** \\x1b[31m" in text


def test_a_storage_that_cannot_be_opened_keeps_its_password(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"cannot be opened|needs a package") as error:
        open_storage("nosuchdb://h/db?user=u&password=PW4711xyz")
    assert "PW4711xyz" not in shown(str(error.value))
    assert json.dumps(redacted({"e": str(error.value)})).count("PW4711xyz") == 0
