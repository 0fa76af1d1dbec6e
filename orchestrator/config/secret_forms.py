"""The forms in which secrets stand in text: patterns of addresses, settings, headers and tokens.

No repetition is without a bound where another one can begin within it: a line may be megabytes
long, and hostile.
"""

from __future__ import annotations

import re

SECRET_WORDS = (
    *("password", "passwd", "pwd", "secret", "token", "sslkey", "access_key"),
    *("accesskey", "credential", "signature"),  # of a presigned address
    *("api_key", "apikey", "api-key", "accountkey", "private_key", "privatekey"),
)
SECRET_NAMES = ("key", "sig", "auth")  # of an address's parameters

_SCHEME = r"\b([A-Za-z][A-Za-z0-9+.-]{0,30})://"
# The user's part reaches to the last @ before the path: a password may hold an @ of its own.
USER_PART = re.compile(rf"{_SCHEME}([^/\s'\"<>]*)@")
# SQLAlchemy takes a password with a slash in it; digits before one are a port.
PASSWORD_WITH_SLASH = re.compile(
    rf"{_SCHEME}([^/\s@:\['\"<>]*):(?!\d+/)[^/\s@'\"<>]*/[^\s@'\"<>]{{0,500}}@"
)

_WORDS = "|".join(SECRET_WORDS)
_NAME = rf"(?:{_WORDS})[\w.-]{{0,40}}(?<![_-]file)(?<![_-]path)(?<![_-]dir)"
_QUOTE = r"(?:['\"]|&#3[49];)"  # the second as a page escapes it
_NOTHING = r"(?!(?:None|null|True|False)\b)"
_SETTINGS = (
    # a parameter of an address
    rf"([?&;#][A-Za-z_.-]{{0,40}}(?:{_WORDS})[A-Za-z_.-]{{0,40}}=)[^&;#\s'\"<>]*",
    # name=value
    rf"({_NAME}={_QUOTE}?)(?!{_QUOTE}){_NOTHING}[^&;#\s,'\"<>]+",
    # "name": "value"
    rf"({_NAME}{_QUOTE}\s*:\s*{_QUOTE})(?:(?!{_QUOTE}).)+",
    # name: value, where the value is no word of a sentence
    rf"({_NAME}:\s+)(?=\S*\d)[\w+/=~.-]{{8,}}",
    # --name value
    rf"(--[\w-]{{0,40}}{_NAME}\s+)(?!-)[^\s'\"<>]+",
)
_PARAMETERS = (
    rf"([?&;#](?:{'|'.join(SECRET_NAMES)})=)[^&;#\s'\"<>]*",
    # in other text, but for the key of a file
    rf"(\b(?:key|sig)={_QUOTE}?)(?![\w/.-]*\.\w{{1,5}}\b){_NOTHING}[\w+/=~.%-]+",
)
_HEADERS = (
    rf"(\bAuthorization{_QUOTE}?\s*[:=]\s*{_QUOTE}?(?:Digest|AWS4-[\w-]+)\s)[^\r\n<>]+",
    rf"(\bAuthorization{_QUOTE}?\s*[:=]\s*{_QUOTE}?(?:[A-Za-z][\w-]*\s+)?)(?!\w+\s)"
    r"[^\s'\"<>&]+",
    rf"(\b(?:Set-)?Cookie{_QUOTE}?:\s*{_QUOTE}?)[^\r\n'\"<>]+",
    r"(\bBearer\s+)(?=\S*\d)[\w.~+/-]{8,}=*",
)
# They open a channel by themselves.
_HOOKS = (
    r"(https?://hooks\.slack\.com/[a-z]+/)[^\s'\"<>]+",
    r"(https?://[^\s/'\"<>]+/(?:api/)?(?:web)?hooks/)[^\s'\"<>]+",
    r"(https?://[\w.-]+\.office\.com/webhook\w*/)[^\s'\"<>]+",
    r"(https?://api\.telegram\.org/bot)[^\s/'\"<>]+",
)
# Group 1 of a match is kept, the rest is the secret. A line that has one holds one of the words
# before it, in lower case: most lines need no look at the forms, which are slow.
SECRET_FORMS = {
    hints: tuple(re.compile(form, re.IGNORECASE) for form in forms)
    for hints, forms in {
        SECRET_WORDS: _SETTINGS,
        tuple(f"{name}=" for name in SECRET_NAMES): _PARAMETERS,
        ("authoriz", "cookie", "bearer"): _HEADERS,
        ("hook", "telegram"): _HOOKS,
    }.items()
}

# Told by their form alone.
TOKENS = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
    r"|xox[a-z]-[\w-]{10,}|sk-[\w-]{20,}|AIza[\w-]{30,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
PRIVATE_KEY = re.compile(
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)"
)
