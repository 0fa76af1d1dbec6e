"""The forms in which secrets stand in text: patterns of addresses, settings, headers and tokens.

No repetition is without a bound where another one can begin within it: a line may be megabytes
long, and hostile.
"""

from __future__ import annotations

import re

SECRET_WORDS = (
    *("password", "passwd", "passphrase", "pwd", "secret", "token", "sslkey", "access_key"),
    *("accesskey", "access key", "credential", "signature"),  # of a presigned address
    *("api_key", "apikey", "api-key", "api key", "accountkey", "private_key", "privatekey"),
    *("customerkey", "customer-key", "subscription-key", "encryption_key", "signing_key"),
    *("ssh_key", "storage_key", "master_key", "authkey", "account-key", "account_key", "secretkey"),
)
SECRET_NAMES = ("key", "sig", "auth")  # of an address's parameters
# Schemes whose addresses name no path before the user's part: what is before an @ is a password.
DATABASES = (
    *("postgres", "postgresql", "mysql", "mariadb", "oracle", "mssql"),
    *("redis", "rediss", "amqp", "amqps", "mongodb"),
)

_SLASHES = r"(?:\\?/){2}"  # as JSON may escape them
_SCHEME = rf"\b([A-Za-z][A-Za-z0-9+.-]{{0,30}}:{_SLASHES})"
# The user's part reaches to the last @ before the path: a password may hold an @ of its own, and a
# quotation mark.
USER_PART = re.compile(rf"{_SCHEME}((?:[^/\s'\"<>]|['\"](?=\w))*)@")
# SQLAlchemy takes a password with a slash in it; digits before one are a port.
PASSWORD_WITH_SLASH = re.compile(
    rf"{_SCHEME}([^/\s@:\['\"<>]*):(?!\d+/)[^/\s@'\"<>]*/[^\s'\"<>]{{0,500}}@"
)
_DATABASE = rf"\b((?:{'|'.join(DATABASES)})(?:\+\w{{1,20}})?:{_SLASHES}[^/\s@:]{{0,100}}:)"
# Of a database any character may be one of the password, but not where a port stands there.
DATABASE_PASSWORDS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"{_DATABASE}(?:(?!:{_SLASHES})[^\s'\"<>]){{1,500}}(?=@)",
        rf"{_DATABASE}(?!\d{{1,5}}(?:[/\s'\",;:)\]<]|$))[^@\n]{{1,100}}(?=@)",
    )
)

_WORDS = "|".join(SECRET_WORDS)
_NAME = rf"(?:{_WORDS})[\w.-]{{0,40}}(?<![_-]file)(?<![_-]path)(?<![_-]dir)"
# Of an environment: AZURE_STORAGE_KEY, DB_PASS.
_VARIABLE = r"(?-i:\b(?:[A-Z0-9]{1,30}_){0,6}(?:[A-Z0-9]{1,30}_KEY|[A-Z0-9]{0,30}PASS))"
_PASS = (
    r"\b(?:[a-z]{1,20}_)?(?<!by)(?<!com)(?:(?:db|pg|smtp|ftp|ssh|require|store)?pass|pw|psw|bindpw)"
)
_ANY_NAME = rf"(?:{_NAME}|{_VARIABLE}|{_PASS})"
# The second and third as pages escape them, and with the backslashes of text within text.
_QUOTE = r"(?:\\{0,3}['\"]|&#3[49];|&quot;)"
_NOTHING = r"(?!(?:None|null|True|False)\b)"
_LIKE_A_SECRET = r"(?=\S{0,60}\d)[\w+/=~.-]{8,}+(?!\()"  # no word of a sentence, and no call
# What a sentence says of a password, or a prompt in place of one.
_NO_VALUE = (
    r"(?!(?:required|missing|invalid|expired|wrong|empty|none|null|true|false|unknown|denied|set"
    r"|unset|yes|no|ok|changed|incorrect|refused|accepted|rejected|hidden)\b)"
)
_VALUE = rf"{_NO_VALUE}(?![~/.<*{{\[(|&>$-])(?!\S*\.\w{{1,5}}['\"]?\s*$)"  # no path, and no list
_SETTINGS = (
    # a parameter of an address
    rf"([?&;#][A-Za-z_.-]{{0,40}}(?:{_WORDS})[A-Za-z_.-]{{0,40}}=)[^&;#\s'\"<>]*",
    # name="value", "name": "value"
    rf"({_ANY_NAME}{_QUOTE}?\]?\s{{0,4}}[=:]\s{{0,4}}[bru]?(?P<quote>{_QUOTE}))"
    r"(?!\*\*\*)(?:(?!(?P=quote))(?:\\.|.))+",
    # name=value
    rf"({_ANY_NAME}=)(?!{_QUOTE}){_NOTHING}[^&;#\s,'\"<>]+",
    # name = value, name: value, name -> value
    rf"({_ANY_NAME}\s{{0,4}}(?:[=:]|->)\s{{0,4}}){_LIKE_A_SECRET}",
    # name: value, name value, and nothing else in the line
    rf"(^\s*(?:-\s+)?[\w.-]{{0,40}}{_ANY_NAME}:\s+){_VALUE}\S+(?=\s*$)",
    rf"(^\s*(?:password|passphrase|requirepass|masterauth|bindpw)\s+){_VALUE}\S+(?=\s*$)",
    # setenv NAME value, ENV NAME value
    rf"((?-i:\b(?:ENV|ARG|setenv))\s+[\w.]{{0,40}}{_ANY_NAME}\s+)[^\s'\"=]+",
    rf"(\bconfigure\s+set\s+[\w.]{{0,40}}{_ANY_NAME}\s+)\S+",
    # "name": "NAME", "value": "value"
    rf"({_QUOTE}name{_QUOTE}\s*:\s*{_QUOTE}\w{{0,40}}{_ANY_NAME}{_QUOTE}\s*,\s*"
    rf"{_QUOTE}value{_QUOTE}\s*:\s*{_QUOTE})[^'\"]+",
    # <name>value</name>, <add key="name" value="value">
    rf"(=[\"'][\w:.-]{{0,40}}{_NAME}[\"']\s{{1,9}}value=[\"'])[^\"']+",
    rf"((?:<|&lt;)[\w:.-]{{0,40}}{_NAME}(?:>|&gt;))(?:(?!<|&lt;).)+",
    # --name value
    rf"(--[\w-]{{0,40}}{_ANY_NAME}\s+{_QUOTE}?)(?!-)[^\s'\"<>]+",
    # the token "value", the password 'value', password is value, password for ada: value
    rf"((?<!=)\bpass(?:word|wd|phrase)\s(?:is\s|was\s)?{_QUOTE}){_VALUE}[^'\"]+(?=['\"])",
    rf"(\b(?:password|passphrase|token|secret)\s(?:is|was)\s){_LIKE_A_SECRET}",
    rf"(\bpass(?:word|phrase) for {_QUOTE}?[^\s:'\"]{{1,80}}{_QUOTE}?:\s){_VALUE}\S+",
    r"(\blogin\s+\S{1,80}\s+password\s+)\S+",
    rf"(\b(?:token|password|passwd|passphrase|key)\s{_QUOTE})(?!\S*\.\w{{1,5}}\b){_LIKE_A_SECRET}",
    rf"((?<!=)(?:token|password|passwd|passphrase)\s+)(?![/~]){_LIKE_A_SECRET}",
    # a setting within an address
    rf"({_NAME}%3D)(?:(?!%26)[^&;#\s'\"<>])+",
)
_PARAMETERS = (
    rf"([?&;#](?:{'|'.join(SECRET_NAMES)})=)[^&;#\s'\"<>]*",
    # in other text, but for the key of a file
    rf"(\b(?:key|sig)={_QUOTE}?)(?![\w/.-]*\.\w{{1,5}}\b){_NOTHING}[\w+/=~.%-]+",
    rf"(\bauth=){_LIKE_A_SECRET}",
    r"(\b_auth\s?=\s?)[^\s'\"]+",
    r"([?&;#](?:jwt|sid|session|sessionid)=)[^&;#\s'\"<>]*",
    rf"([?&;#]code=){_LIKE_A_SECRET}",
)


def _option(program: str, option: str) -> str:
    """The form of a command line of `program` whose `option`, by its case, takes a password."""
    return (
        rf"(\b(?:{program})\b[^|;&\n]{{0,300}}?\s(?-i:{option})\s?{_QUOTE}?)(?![\s-])[^\s'\";|&]+"
    )


_HEADERS = (
    rf"(\bAuthorization{_QUOTE}?\s*[:=]\s*{_QUOTE}?(?:Digest|AWS4-[\w-]+)\s)[^\r\n<>]+",
    rf"(\bAuthorization{_QUOTE}?\s*[:=]\s*{_QUOTE}?(?:[A-Za-z][\w-]*\s+)?)(?!\w+\s)"
    r"[^\s'\"<>&]+",
    rf"(\b(?:Set-)?Cookie{_QUOTE}?:\s*{_QUOTE}?)[^\r\n'\"<>]+",
    rf"((?:\bX-[\w-]{{0,40}}(?:Key|Token|Secret|Auth|Password)|(?:PRIVATE|DEPLOY|JOB)-TOKEN)"
    rf"[\w-]{{0,9}}{_QUOTE}?:\s*{_QUOTE}?)[^\s'\"<>;,]+",
    r"(\bBearer\s+)(?=\S{0,60}\d)[\w.~+/-]{8,}=*",
    # ("name", "password") of HTTP's basic authentication
    rf"(\bauth{_QUOTE}?\s*[:=]\s*\(\s*{_QUOTE}[^'\"]{{0,200}}{_QUOTE}\s*,\s*{_QUOTE})[^'\"]+",
)
_ADDRESSES = (
    # an address within an address
    r"(%3A%2F%2F[^\s%&]{0,100}%3A)(?:(?!%40)[^\s&]){1,300}(?=%40)",
    # without a scheme
    rf"((?<![\w:/\\]){_SLASHES}[^/\s:@'\"<>]{{1,100}}:)[^/\s'\"<>]{{1,300}}(?=@)",
    r"((?<![\w/:])[\w.+-]{1,64}:)[^\s:@/'\"<>*]{4,200}(?=@(?!sha\d)[\w.-]{1,100}:\d)",
    # curl's
    rf"((?<![\w-])(?:-u|-U|--user|--proxy-user)[\s=]{_QUOTE}?[^\s:'\"]{{1,100}}:)[^\s'\"]+",
    r"(\b(?:jdbc:oracle:\w{1,9}:|sqlplus\s)[\w$#]{1,60}/)[^\s@/]{1,200}(?=@)",
    rf"(\bsmbclient\s[^|\n]{{0,300}}?-U\s?{_QUOTE}?[^\s%'\"]{{1,100}}%)[^\s'\"]+",
)
# A program whose option takes a password, by the words by which its line is told.
_COMMANDS = {
    ("mysql", "mariadb", "sshpass", "mongo"): (
        _option(r"(?:mysql|mariadb|mongo)\w{0,12}(?:-\w{1,9})?|sshpass", "-p"),
    ),
    ("login",): (
        _option(
            r"(?:docker|podman|helm|oras|skopeo|nerdctl|buildah|crane|az)\s[^|\n]{0,80}login", "-p"
        ),
        r"(\b(?:wandb|vault)\s+login\s+)(?!-)(?=\S{0,60}\d)\S{8,}",
    ),
    ("7z", "zip", "mosquitto"): (
        _option("7z[az]?", "-p"),
        _option(r"zip|unzip|mosquitto_\w{3}", "-P"),
    ),
    ("sqlcmd", "bcp", "ipmitool", "ssh-keygen", "alias set"): (
        _option("sqlcmd|bcp|ipmitool", "-P"),
        _option("ssh-keygen", "-N"),
        r"(\balias set (?:\S{1,300} ){3})\S+",
    ),
    ("redis-cli", "ldap"): (_option("redis-cli", "-a"), _option(r"ldap[a-z]{3,9}", "-w")),
    ("openssl", "keytool", "jarsigner"): (
        r"(\bpass:)[^\s'\"]+",
        _option("openssl enc", "-k"),
        _option("keytool|jarsigner", "-storepass"),
        _option("keytool|jarsigner", "-keypass"),
    ),
    ("lftp", "curl", "http"): (
        rf"(\blftp\s[^|\n]{{0,300}}?-u\s?{_QUOTE}?[^\s,'\"]{{1,100}},)[^\s'\"]+",
        rf"(\bcurl\s[^|\n]{{0,300}}?-[uU]{_QUOTE}?[^\s:'\"]{{1,100}}:)[^\s'\"]+",
        rf"(\bcurl\s[^|\n]{{0,300}}?(?:-b|--cookie)\s{_QUOTE}?[^\s='\"]{{1,60}}=)"
        r"(?:[^\s'\";]{1,500}(?:;\s?)?)+",
        r"(--oauth2-bearer\s+)\S+",
        rf"(\bhttps?\s[^|\n]{{0,300}}?-a\s?{_QUOTE}?[^\s:'\"]{{1,100}}:)[^\s'\"]+",
    ),
}
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
        (*SECRET_WORDS, "_key", "pass", "pw", "psw", "masterauth"): _SETTINGS,
        (
            *(f"{name}=" for name in (*SECRET_NAMES, "jwt", "sid", "session", "sessionid", "code")),
            "_auth",
        ): _PARAMETERS,
        ("authoriz", "cookie", "bearer", "auth", "x-", "-token"): _HEADERS,
        ("@", "%40", "-u ", "--user", "--proxy-user", "smbclient"): _ADDRESSES,
        # a line of PostgreSQL's file: host:port:database:user:password
        (":",): (r"(^[\w.*-]{1,100}:(?:\d{3,5}|\*):[\w.*-]{1,100}:[\w.*-]{1,100}:)\S+(?=\s*$)",),
        ("hook", "telegram"): _HOOKS,
        **_COMMANDS,
    }.items()
}

# Two lines of a manifest for Kubernetes.
NAME_AND_VALUE = re.compile(
    rf"(name:\s*[\"']?\w{{0,40}}{_ANY_NAME}[\"']?\s*\n\s{{1,40}}value:\s*[\"']?)[^\s'\"]+",
    re.IGNORECASE,
)
# A value that may be random (`redaction` looks at it): behind a name that says nothing, as a
# parameter of an address, and as an entry of Docker's file.
MAYBE_RANDOM = re.compile(
    rf"((?<![A-Za-z])(?:key|auth){_QUOTE}?\s{{0,4}}[:=]\s{{0,4}}{_QUOTE}?"
    rf"|[?&](?!versionid|uploadid|etag)\w{{1,40}}=)([A-Za-z0-9+/%_-]{{12,}}={{0,2}})(?![\w.%+/=-])",
    re.IGNORECASE,
)
RANDOM_HINTS = ("key", "auth", "?", "&")
# Told by their form alone.
TOKENS = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|gl[a-z]{2,6}-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
    r"|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}|sk-[\w-]{20,}|[sr]k_(?:live|test)_\w{10,}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{20,}|1//0[\w-]{20,}|GOCSPX-[\w-]{20,}"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,16}\b"
    r"|npm_[A-Za-z0-9]{20,}|pypi-[\w-]{20,}|dckr_pat_[\w-]{16,}|dapi[0-9a-f]{32}"
    r"|dop_v1_[0-9a-f]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}|hv[sb]\.[\w-]{16,}|r8_[A-Za-z0-9]{20,}"
    r"|gsk_\w{20,}|nvapi-[\w-]{20,}|tskey-[a-z]+-[\w-]{8,}|(?:bot)?\d{6,12}:AA[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
PRIVATE_KEY = re.compile(
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)"
)
