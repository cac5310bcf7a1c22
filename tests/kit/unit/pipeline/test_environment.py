from __future__ import annotations

import pytest

from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.errors import ConfigError

TEXT = """
[env]
LOG_LEVEL = "DEBUG"
SITE = "example.com"

[secrets]
WEBHOOK_TOKEN = "latest"

[queues.mail]
[queues.mail.env]
SITE = "mail.example.com"
[queues.mail.secrets]
SMTP_PASSWORD = 3

[queues.bulk]

[stages.prod]
env = { LOG_LEVEL = "INFO" }
secrets = { WEBHOOK_TOKEN = 7 }
"""


def test_a_queue_has_what_all_have_and_its_own_on_top() -> None:
    declared = parse(TEXT)
    mail, bulk = declared.queues
    assert declared.env_of(mail) == {"LOG_LEVEL": "DEBUG", "SITE": "mail.example.com"}
    assert declared.env_of(bulk) == declared.env
    assert declared.secrets_of(mail) == {"WEBHOOK_TOKEN": "latest", "SMTP_PASSWORD": 3}
    assert declared.secrets_of(bulk) == {"WEBHOOK_TOKEN": "latest"}
    assert declared.all_secrets == ("WEBHOOK_TOKEN", "SMTP_PASSWORD")


def test_a_stage_changes_some_of_them() -> None:
    prod = parse(TEXT, stage="prod")
    assert prod.env == {"LOG_LEVEL": "INFO", "SITE": "example.com"}
    assert prod.secrets == {"WEBHOOK_TOKEN": 7}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[env]\nBUCKET_NAME = 'x'", 2, "set by the deployment itself"),
        ("[env]\nK_SERVICE = 'x'", 2, "set by the deployment itself"),
        ("[env]\nlower = 'x'", 2, "env.lower"),
        ("[env]\nA = 1", 2, "valid string"),
        ("[secrets]\nA = 'newest'", 2, "secrets.A"),
        ("[secrets]\nA = 0", 2, "secrets.A"),
        ("[env]\nA = 'x'\n[secrets]\nA = 1", 1, r"A is under \[env\] and under \[secrets\]"),
        ("[env]\nA = 'x'\n[queues.b.secrets]\nA = 1", 1, r"A is under \[env\] and under \[secrets\]"),
    ],
)
def test_what_can_not_be_a_variable_or_a_secret_is_reported_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)pipeline.toml:{line}: .*{words}"):
        parse(f"{text}\n[queues.a]")
