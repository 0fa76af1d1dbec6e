"""Passwords in addresses: hidden wherever they are shown, refused where they come in."""

from __future__ import annotations

import io
import logging
import sys
import threading
from types import SimpleNamespace

import pytest

from orchestrator.config.redaction import (
    holds_password,
    redact_logs,
    redacted,
    refuse_password,
    secret_values,
)
from orchestrator.exit_codes import run_command
from orchestrator.ray_cluster.worker_failures import failure_reason
from orchestrator.search.database import open_database
from orchestrator.storage.open_store import open_store
from orchestrator.tracking.run_start import RunStart
from orchestrator.tracking.tracking_uri import check_usable
from prp_core.errors import PrpError, UserError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://ada:canary@host:5000/x", "http://ada:***@host:5000/x"),
        ("https://canary@host", "https://***@host"),
        ("http://ada:ca@nary@host", "http://ada:***@host"),
        ("http://:canary@host", "http://:***@host"),
        ("postgresql://prp@db/prp", "postgresql://prp@db/prp"),
        ("postgresql+psycopg2://prp:canary@db:5/d", "postgresql+psycopg2://prp:***@db:5/d"),
        ("postgresql://db/prp?password=canary&x=1", "postgresql://db/prp?password=***&x=1"),
        ("mysql://db/prp?x=1&ssl_key_password=canary", "mysql://db/prp?x=1&ssl_key_password=***"),
        ("http://a:canary@h/ or 'mysql://b:canary@i/'", "http://a:***@h/ or 'mysql://b:***@i/'"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("https://b/c?sig=canary&se=2#token=canary", "https://b/c?sig=***&se=2#token=***"),
        ("http://h/p?api_key=canary&page=2", "http://h/p?api_key=***&page=2"),
        ("host=h password=canary user=u", "host=h password=*** user=u"),
        ("{'Authorization': 'Basic canary', 'A': 1}", "{'Authorization': 'Basic ***', 'A': 1}"),
        ("the password is wrong; key=a/b.mp4", "the password is wrong; key=a/b.mp4"),
        ("postgresql://prp:ca/na/ry@db/prp", "postgresql://prp:***@db/prp"),
        ("http://host:5000/a@b http://[::1]:5/a@b", "http://host:5000/a@b http://[::1]:5/a@b"),
        (
            "GET http://h/b/k?X-Amz-Credential=canary&X-Amz-Signature=canary&partNumber=1",
            "GET http://h/b/k?X-Amz-Credential=***&X-Amz-Signature=***&partNumber=1",
        ),
        ("mail ada@example.org about http://host", "mail ada@example.org about http://host"),
        ("sqlite:////srv/trials.db", "sqlite:////srv/trials.db"),
        ("403 with key=canary, twice", "403 with key=***, twice"),
        ("no object key=train/c1/v_Apply_g01.avi", "no object key=train/c1/v_Apply_g01.avi"),
        ("https://maps/v1?x=1&key=canary#a", "https://maps/v1?x=1&key=***#a"),
        ("sig=canary%2B1 and X-Amz-Signature=canary", "sig=*** and X-Amz-Signature=***"),
        (
            "POST https://hooks.slack.com/services/T0CANARY/B0CANARY/canary: 403",
            "POST https://hooks.slack.com/services/*** 403",
        ),
        ("<https://chat/hooks/canary>", "<https://chat/hooks/***>"),
        ("https://discord.com/api/webhooks/1/canary", "https://discord.com/api/webhooks/***"),
        ("Authorization: Token canary", "Authorization: Token ***"),
        ("authorization=canary", "authorization=***"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=canary/s3, Signature=canary",
            "Authorization: AWS4-HMAC-SHA256 ***",
        ),
        ("authorization: the server asks for it", "authorization: the server asks for it"),
        ("X-Api-Key: canary-1234", "X-Api-Key: ***"),
        ("Cookie: session=canary; b=canary", "Cookie: ***"),
        ("AWS_SECRET_ACCESS_KEY=canary prp", "AWS_SECRET_ACCESS_KEY=*** prp"),
        ('{"password": "a canary", "b": 2}', '{"password": "***", "b": 2}'),
        ("&#34;token&#34;: &#34;canary&#34;,", "&#34;token&#34;: &#34;***&#34;,"),
        ("prp --api-key canary --x", "prp --api-key *** --x"),
        ("--database-password-file /etc/pw", "--database-password-file /etc/pw"),
        ("AccountKey=canary==;Suffix=core", "AccountKey=***;Suffix=core"),
        ("ghp_canary012345678901234567 hf_canary0123456789abcdef", "*** ***"),
        ("-----BEGIN RSA" + " PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----.", "***."),
        ("token=None, the token: see there", "token=None, the token: see there"),
        ("http://ada:%63anary%40%2F@h:5/x", "http://ada:***@h:5/x"),
        ("postgresql://prp:a/b@canary@db/p", "postgresql://prp:***@db/p"),
        ("postgresql://prp:12/canary@db/p", "postgresql://prp:***@db/p"),
        ("mysql://prp:it's a canary@db/p", "mysql://prp:***@db/p"),
        ("postgresql://db:5432/p and ada@h", "postgresql://db:5432/p and ada@h"),
        ('"url": "redis:\\/\\/:canary@h"', '"url": "redis:\\/\\/:***@h"'),
        ("?to=http%3A%2F%2Fada%3Acanary%40h", "?to=http%3A%2F%2Fada%3A***%40h"),
        ("//ada:canary@host/x ada:canary@h:5", "//ada:***@host/x ada:***@h:5"),
        ("image python:3.11@sha256:0a, a:b.mp4", "image python:3.11@sha256:0a, a:b.mp4"),
        ("curl --user ada:canary http://h", "curl --user ada:*** http://h"),
        ("prp --api-key 'canary' --x", "prp --api-key '***' --x"),
        ("password='a canary, it is; yes' x", "password='***' x"),
        ('password="a\\"canary" x', 'password="***" x'),
        ('{\\"token\\": \\"canary\\"}', '{\\"token\\": \\"***\\"}'),
        ("{'password': b'canary'}", "{'password': b'***'}"),
        ("aws_session_token = canary12", "aws_session_token = ***"),
        ("DB_PASS=canary AZURE_STORAGE_KEY=canary", "DB_PASS=*** AZURE_STORAGE_KEY=***"),
        ("<SessionToken>canary</SessionToken>x", "<SessionToken>***</SessionToken>x"),
        ("secret_key='canary', token=None)", "secret_key='***', token=None)"),
        ("auth=('ada', 'canary')", "auth=('ada', '***')"),
        ("X-Vault-Token: canary12; key 'a/b1.mp4'", "X-Vault-Token: ***; key 'a/b1.mp4'"),
        ("the token 'canary12' is old", "the token '***' is old"),
        ("machine h login ada password canary12", "machine h login ada password ***"),
        ("SharedAccessKey=canary= sv=1&sig=canary%3D", "SharedAccessKey=*** sv=1&sig=***"),
        ("ya29.canary01234567890123456 dckr_pat_canary01234567890", "*** ***"),
        ("hvs.canary0123456789012 glrt-canary0123456789 sk_live_canary0123", "*** *** ***"),
        ("token = make_token2(x); bypass=1", "token = make_token2(x); bypass=1"),
        ("mysql -u ada -pcanary db", "mysql -u ada -p*** db"),
        ("sshpass -p 'canary' ssh -p 22 ada@h", "sshpass -p '***' ssh -p 22 ada@h"),
        ("docker run -p 80:80 x; psql -p 5432", "docker run -p 80:80 x; psql -p 5432"),
        ("docker login -u ada -p canary h", "docker login -u ada -p *** h"),
        ("redis-cli -a canary; ls -a x", "redis-cli -a ***; ls -a x"),
        ("curl -uada:canary -b s=canary h", "curl -uada:*** -b s=*** h"),
        ("-H 'PRIVATE-TOKEN: canary' -H x: no", "-H 'PRIVATE-TOKEN: ***' -H x: no"),
        ("  password: canary\n  token: expired\n", "  password: ***\n  token: expired\n"),
        ("token: see.there/x.pem\npass: 3 of 5", "token: see.there/x.pem\npass: 3 of 5"),
        ("- name: DB_PASSWORD\n  value: canary", "- name: DB_PASSWORD\n  value: ***"),
        ('{"name": "A_TOKEN", "value": "canary"}', '{"name": "A_TOKEN", "value": "***"}'),
        ("os.environ['DB_PASSWORD'] = 'canary'", "os.environ['DB_PASSWORD'] = '***'"),
        ("key: aB3dE5gH7jK9mN1pQ3rS x", "key: *** x"),
        ("key: v_ApplyEyeMakeup_g01_c01 in x", "key: v_ApplyEyeMakeup_g01_c01 in x"),
        (f"key: {'0a9f' * 16}", f"key: {'0a9f' * 16}"),
        ("http://h/x?t=aB3dE5gH7jK9mN1pQ3rS&n=2", "http://h/x?t=***&n=2"),
        ('{"auths": {"h": {"auth": "YWRhOmNhbmFyeTEyMzQ1"}}}', '{"auths": {"h": {"auth": "***"}}}'),
        ("h:5432:db:ada:canary", "h:5432:db:ada:***"),
        ("a.py:12:5: E501, 07:12:33:x:y z", "a.py:12:5: E501, 07:12:33:x:y z"),
        ("git+https://canary@github.com/x/y", "git+https://***@github.com/x/y"),
        ("openssl -passin pass:canary", "openssl -passin pass:***"),
        ("user 'ada' with password 'canary' failed", "user 'ada' with password '***' failed"),
    ],
)  # fmt: skip
def test_passwords_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "http://ada:canary@host:5000/x",
            "--mlflow http://ada:***@host:5000/x holds a password, which would end up in the "
            "sweep's files, in MLflow and in logs: write http://host:5000/x and put the password "
            "into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (
            "postgresql+psycopg2://prp:canary@db/prp",
            "write postgresql+psycopg2://db/prp and put the password into ~/.pgpass, or the "
            "variables PGUSER and PGPASSWORD",
        ),
        ("postgresql://db/prp?password=canary", "password=*** holds a password"),
        ("http://ada:a canary'@h:5", "--mlflow http://ada:***@h:5 holds a password"),
        ("http://ada:a#canary@h:5", "write http://h:5 and put the password into"),
        ("https://canary@h", "--mlflow https://***@h holds a password"),
        ("postgresql://prp:/canary@db/prp", "prp:***@db/prp holds a password"),
    ],
)  # fmt: skip
def test_a_password_is_refused_with_the_place_where_it_belongs(address: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_password("--mlflow", address)
    assert said in str(caught.value) and "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "piece",
    [
        *("x", "password", "https://", "://a:b/", "--token ", '"token":"', "eyJabcdefgh.", "?a-"),
        *("mysql -p ", "curl -b ", "- name: password\n value:", "pass: ", "?a="),
        *("auth=('", "a:b@", "postgresql://a:", "A_KEY", "password = \\", "%3A%2F%2F%3A"),
    ],
)
def test_a_long_line_takes_time_in_proportion_to_its_length(piece: str) -> None:
    line = piece * (40_000 // len(piece))  # a quadratic search of one takes minutes
    assert redacted(line + " key=canary").endswith(" key=***") or "canary" not in redacted(line)


@pytest.mark.parametrize("address", ["http://host", "postgresql://prp@db/prp", "sqlite:///x.db"])
def test_addresses_without_a_password_pass(address: str) -> None:
    assert not holds_password(address)
    refuse_password("--mlflow", address)


def test_every_door_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"The MLflow URI http://a:\*\*\*@h holds a password"):
        check_usable("http://a:canary@h")
    with pytest.raises(UserError, match="The database of trials postgresql.* holds a password"):
        open_database("postgresql://a:canary@h/d")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://a:canary@127.0.0.1:9")
    with pytest.raises(UserError, match=r"AWS_ENDPOINT_URL http://a:\*\*\*@127.0.0.1:9 holds"):
        next(open_store("s3://bucket/prefix", check=False).list(), None)


def test_an_error_of_a_library_is_shown_without_passwords(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise PrpError("cannot reach postgresql://prp:canary@db/prp")

    assert run_command(fail) == 1
    assert capsys.readouterr().err == "prp: error: cannot reach postgresql://prp:***@db/prp\n"


_IGNORED = {"exc_type": OSError, "exc_traceback": None, "err_msg": None, "object": None}


def test_logs_tags_and_reasons_hide_what_a_librarys_error_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "postgresql://prp:canary@db/prp"
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger = logging.getLogger("a library of somebody else")
    monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    monkeypatch.setenv("HF_TOKEN", "hf_canary_of_ours")
    monkeypatch.setattr(logger, "handlers", [handler])
    redact_logs()
    redact_logs()
    try:
        raise OSError(f"no answer from {address}")
    except OSError as error:
        logger.exception("lost %s after %d tries", address, 3)
        assert "canary" not in failure_reason(error)
    sys.unraisablehook(SimpleNamespace(**_IGNORED, exc_value=OSError(address)))
    assert "postgresql://prp:***@db/prp" in capsys.readouterr().err
    logger.warning("sent %s", {"Authorization": "Bearer hf_canary_of_ours"})
    assert "sent {'Authorization': 'Bearer ***'}" in written.getvalue()
    assert "lost postgresql://prp:***@db/prp after 3 tries" in written.getvalue()
    assert "OSError: no answer from postgresql://prp:***@db/prp" in written.getvalue()
    start = RunStart(params={"database": address}, tags={"prp.origin": address}).record("sweep")
    assert "canary" not in written.getvalue() + str(start) and str(start).count("***") == 2


def test_credentials_are_the_values_of_variables_that_are_named_so_and_no_places() -> None:
    environment = {
        "AWS_SECRET_ACCESS_KEY": "canary-of-aws",
        "mysql_pwd": "canary-of-mysql",
        "PGPASSWORD": "short",
        "PWD": "/srv/somebody/project",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token",
        "KEYBOARD": "a-kind-of-keyboard",
        "SMTP_PASS": "canary-of-mail",
        "GH_PAT": "canary/gh",
        "SOMEWHERE": "postgresql://prp:canary%21db@db/prp",
    }
    assert secret_values(environment) == (
        "canary-of-mysql",
        "canary-of-mail",
        "canary%2521db",
        "canary-of-aws",
        "canary%21db",
        "canary%2Fgh",
        "canary!db",
        "canary/gh",
    )
