"""Where files are: ``s3://bucket/prefix?endpoint=https://host&region=name``, ``file:///folder`` or a folder.

An address holds no secret: credentials come from the environment or from AWS's own configuration files, as every other
program takes them. So it may be shown; what was given in its place and is refused may hold one, and is not repeated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from tanzhang.core.errors import TanzhangError, refuse

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9_=.-]{1,200}")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_OPTIONS = {
    "endpoint": _ENDPOINT,
    "region": re.compile(r"[a-z0-9-]{1,40}"),
    "ca_file": re.compile(r"/[A-Za-z0-9_./-]{1,300}"),
}
_FORMS = "an endpoint is http(s)://host:port and no more, a region small letters, a ca_file an absolute path"
_PATTERN = re.compile(r"[*?\[\]\x00-\x1f\x7f]")  # DuckDB would take it for many files


@dataclass(frozen=True, slots=True)
class StorageAddress:
    """A folder of this machine, or a prefix of a bucket and how to get there. What is None comes from elsewhere."""

    folder: Path | None = None
    bucket: str = ""
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    ca_file: str | None = None

    @classmethod
    def parse(cls, text: str, *, where: str) -> StorageAddress:
        """Read an address; ``where`` says whence the text came.

        Raises ``storage-address-malformed``, whose message never repeats the text.
        """
        if "://" in text and re.search(r"[\x00-\x20\x7f]", text):  # which reading it as an address would drop
            raise _malformed("it holds white space or control characters", where)
        try:
            url = urlsplit(text)
            options = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
        except ValueError:
            raise _malformed("it cannot be read as an address", where) from None
        if text.startswith("s3://"):
            return cls._bucket(url.netloc, url.path, options, bool(url.fragment) or "#" in text, where)
        if text.startswith("file://"):
            if url.netloc not in ("", "localhost") or url.query or url.fragment:
                raise _malformed("a file:// address is a path of this machine and nothing else", where)
            return cls(folder=_folder(unquote(url.path), where))
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
            raise _malformed("it begins neither with s3:// nor with file://", where)
        return cls(folder=_folder(text, where))

    @classmethod
    def _bucket(
        cls, bucket: str, path: str, options: list[tuple[str, str]], fragment: bool, where: str
    ) -> StorageAddress:
        if "@" in bucket:
            raise _malformed("credentials do not belong into it", where)
        if not _BUCKET.fullmatch(bucket) or ".." in bucket:
            raise _malformed("its bucket is not one name of 3 to 63 small letters, digits, dots and -", where)
        prefix = path.strip("/")
        parts = prefix.split("/")
        if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
            raise _malformed("its prefix is not names of letters, digits and _ = . - with single / between", where)
        if len(prefix) > 512:
            raise _malformed("its prefix is longer than 512 characters", where)
        given = dict(options)
        if fragment or len(given) != len(options) or not given.keys() <= _OPTIONS.keys():
            raise _malformed(f"behind its ? may stand {', '.join(_OPTIONS)}, each once, and nothing else", where)
        for name, form in _OPTIONS.items():
            if name in given and not form.fullmatch(given[name]):
                raise _malformed(f"its {name} is none; {_FORMS}", where)
        return cls(None, bucket, prefix, given.get("endpoint"), given.get("region"), given.get("ca_file"))

    @property
    def text(self) -> str:
        """The address in full, as it is kept."""
        if self.folder is not None:
            return str(self.folder)
        options = "&".join(f"{name}={value}" for name in _OPTIONS if (value := getattr(self, name)) is not None)
        return f"s3://{self.bucket}/{self.prefix}{'?' if options else ''}{options}"

    def reached(self, environment: Mapping[str, str] = os.environ) -> tuple[str | None, str | None]:
        """Endpoint and region: those of the address, or else those that AWS's own variables name."""

        def known(*names: str) -> str | None:
            return next((environment[name] for name in names if environment.get(name)), None)

        endpoint = self.endpoint or known("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        return endpoint, self.region or known("AWS_REGION", "AWS_DEFAULT_REGION")


def _folder(text: str, where: str) -> Path:
    if not text.startswith("/") or _PATTERN.search(text) or ".." in Path(text).parts or text.startswith("//"):
        raise _malformed("a folder is an absolute path without .. and without any of * ? [ ]", where)
    if Path(text) == Path("/"):
        raise _malformed("the root of the file system is no folder for it", where)
    return Path(text)


def _malformed(reason: str, where: str) -> TanzhangError:
    return refuse(
        "storage-address-malformed",
        f"the address of the files is not understood: {reason}",
        where=where,
        remedy="write s3://bucket/prefix, if need be with ?endpoint=https://host&region=name, or an absolute folder; "
        "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from a profile",
    )
