"""Secrets stay out of what is printed and saved.

A text is a secret by the name it stands under (`token`, `DB_PASSWORD`), by its place in a URL, or because it is a value
that is known to be one: `remember` keeps those, and every text that is shown or saved later is searched for them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus

HIDDEN = "***"
_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "credential", "credentials", "apikey", "accesskey")
_KEYS = (["api"], ["access"], ["secret"], ["private"])  # before `key` in a message
_SHORT = {"pass", "pwd", "pw", "pat", "creds", "cookie", "sig", "signature", "auth", "jwt", "bearer", "dsn", "secrets"}
_URL = re.compile(r"(?<![\w/])(?:([A-Za-z][A-Za-z0-9+.:-]{0,60}):)?//(?!/*\s)[^\s\"<>]+")
_PARAMETER = re.compile(r"([?&;#,\s]|^)([^=?&;#,\s/]{1,200})=([^&;#\s]*)")
_ASSIGNED = re.compile(r"(?<![\w.])([\w.-]{2,60}?)(\s?=\s?)('[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)")
_SEARCHED = 6  # characters of a secret that is searched for inside longer texts; shorter ones would hide common words
_known: dict[str, None] = {}
_pattern: list[re.Pattern[str]] = []


def looks_secret(name: str) -> bool:
    """Whether an option of this name holds a secret: `api_key`, `token`; not `key_column`."""
    words = _words(name)
    return words[-1] == "key" or any(word.endswith(_ENDINGS) for word in words)


def names_secret(name: str) -> bool:
    """Whether an environment variable or a parameter of a URL of this name holds a secret: `PGPASSWORD`, `pwd`."""
    return looks_secret(name) or not _SHORT.isdisjoint(_words(name)) or _words(name)[-1].endswith(("pwd", "key"))


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.split(r"[^a-z]+", spaced.lower().rstrip("0123456789_-."))


def remember(value: str, *, alone: bool = True) -> None:
    """Hide this value from now on: inside longer texts if it has at least six characters, else where it stands alone.

    `alone`: also hide a shorter value that is a whole text. The password of a URL may be a usual word.
    """
    for one in {value, unquote(value)}:
        if one and one != HIDDEN and one not in _known and (alone or len(one) >= _SEARCHED):
            _known[one] = None
            _pattern.clear()


def remember_environment(environment: Mapping[str, str]) -> None:
    """Hide the values of all variables with names of secrets, but paths, and short ones such as `1` and `true`."""
    for name, value in environment.items():
        if names_secret(name) and len(value) >= 8 and not value.startswith("/"):
            remember(value)
        for password in passwords(value) if "//" in value else ():
            remember(password, alone=False)


def forget() -> None:
    """Know no values; for tests."""
    _known.clear()
    _pattern.clear()


def holds_password(value: str) -> bool:
    """Whether a text has a URL with a secret in it, or a value that is known to be one."""
    return _hidden_value(value) != value


def _hidden_value(value: str) -> str:
    """`hidden` for the value of an option: where it is a URL, it is one to its end, blanks included."""
    whole = re.match(r"[\w.+:-]*//", value) and re.search(r"\s", value)
    return _without_known(_hidden_url(value)) if whole else hidden(value)


def hidden(text: str) -> str:
    """The text in which secrets of URLs, and values known to be secret, read `***`."""
    return _without_known(_URL.sub(lambda m: _hidden_url(m[0]), text) if "//" in text else text)


def hidden_message(text: str) -> str:
    """`hidden` for a message or a traceback, where also `password=...` of a driver reads `***`."""
    return _ASSIGNED.sub(_hidden_assignment, hidden(text))


def _without_known(text: str) -> str:
    if text in _known:
        return HIDDEN
    if not _pattern:
        long = sorted((k for k in _known if len(k) >= _SEARCHED), key=len, reverse=True)
        _pattern.append(re.compile("|".join(map(re.escape, long)) or r"(?!)"))
    return _pattern[0].sub(HIDDEN, text)


def _hidden_url(url: str) -> str:
    scheme, _, rest = url.partition("//")
    head, end = "", _end_of_userinfo(rest)
    if end >= 0:
        head, rest = _hidden_userinfo(scheme, rest[:end]) + "@", rest[end + 1 :]
    place, mark, parameters = _parts(rest)
    return f"{scheme}//{head}{place}{_PARAMETER.sub(_hidden_parameter, mark + parameters)}"


def _parts(rest: str) -> tuple[str, str, str]:
    found = re.search(r"[?#;]", rest)
    return (rest, "", "") if found is None else (rest[: found.start()], found[0], rest[found.end() :])


def _end_of_userinfo(rest: str) -> int:
    """Where the `@` stands that ends user and password, -1 if there are none.

    A password may hold `/`, `?`, `#` and `@` that were not encoded: the last `@` counts, also behind these, unless
    what stands before them is a whole host.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    last = rest.rfind("@")
    if "@" in authority:
        path = rest[len(authority) :]
        return last if "@" in path and not re.match(r"[^@]*[?#][\w.%-]+=", path) else authority.rfind("@")
    if last < 0 or ":" not in rest[:last] or authority.startswith("["):
        return -1
    is_host = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[\w.-]*)(:[0-9]+)?", authority)
    if is_host and (re.match(r"[^@]*[?#;&][\w.%-]+=", rest) or ":" not in authority):
        return -1
    return last


def _hidden_userinfo(scheme: str, userinfo: str) -> str:
    user, colon, _ = userinfo.partition(":")
    web = "http" in scheme
    if not colon:
        return HIDDEN if web or names_secret(user) else user
    return f"{HIDDEN if web and len(user) >= 20 else user}:{HIDDEN}"


def _hidden_parameter(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    plain, content = unquote_plus(name), unquote_plus(value)
    if value and (names_secret(plain) or _is_nested_secret(content)):
        return f"{before}{name}={HIDDEN}"
    return found[0]


def _is_nested_secret(content: str) -> bool:
    """Whether an encoded value has a URL or a connection string with a secret in it: `odbc_connect=...%3BPWD%3Dx`."""
    nested = (m for m in _PARAMETER.finditer(content) if m[3] and names_secret(m[2].strip("{} ")))
    return any(True for _ in nested) or ("//" in content and _URL.sub(lambda m: _hidden_url(m[0]), content) != content)


def _hidden_assignment(found: re.Match[str]) -> str:
    name, sign, value = found.groups()
    plain = value.strip("'\"")
    if value[0] in "'\"" and not _is_credential(name):  # what is quoted may hold assignments of its own
        return f"{name}{sign}{value[0]}{_ASSIGNED.sub(_hidden_assignment, value[1:-1])}{value[-1]}"
    if not _is_credential(name) or not plain or HIDDEN in plain or plain.startswith(("${", "$\\{")):
        return found[0]
    return f"{name}{sign}{HIDDEN}"


def _is_credential(name: str) -> bool:
    """Narrower than `names_secret`: a message may say `key=value` of anything."""
    words = _words(name)
    return words[-1].endswith((*_ENDINGS, "pwd")) or (words[-1] == "key" and words[-2:-1] in _KEYS)


def passwords(value: str) -> Iterator[str]:
    """The secrets in the URLs of a text, to be remembered."""
    whole = re.match(r"[\w.+:-]*//", value)
    for url in [value] if whole else [m[0] for m in _URL.finditer(value)]:
        rest = url.partition("//")[2]
        end = _end_of_userinfo(rest)
        if end >= 0 and (secret := rest[:end].partition(":")[2]):
            yield secret
        for found in _PARAMETER.finditer("".join(_parts(rest[end + 1 :])[1:])):
            if found[3] and names_secret(unquote_plus(found[2])):
                yield found[3]


def redacted(value: Any, name: str = "") -> Any:
    """A copy in built-in containers in which secret options, and secrets inside texts, read `***`."""
    if isinstance(value, Mapping):
        return {_key(k): redacted(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(v, name) for v in value]
    if isinstance(value, str):
        return HIDDEN if value and looks_secret(name) else _hidden_value(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and len(str(value)) >= 4 and str(value) in _known:
        return HIDDEN
    return value


def _key(key: Any) -> Any:
    return hidden(key) if isinstance(key, str) and len(key) >= _SEARCHED else key
