from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.stores.storage import StorageAddress


def parsed(text: str) -> StorageAddress:
    return StorageAddress.parse(text, where="--storage")


def test_an_address_names_bucket_prefix_and_the_way_there() -> None:
    found = parsed("s3://city-carbon/beijing/2025/?endpoint=https://minio.example:9000&region=cn-north-1")
    assert (found.bucket, found.prefix) == ("city-carbon", "beijing/2025")
    assert found.reached({}) == ("https://minio.example:9000", "cn-north-1")
    assert parsed(found.text) == found
    private = parsed("s3://city-carbon/x?endpoint=https://[fd00::1]:9000&ca_file=/etc/ssl/city.pem")
    assert (private.ca_file, parsed(private.text)) == ("/etc/ssl/city.pem", private)


def test_what_the_address_leaves_open_comes_from_the_variables_of_aws() -> None:
    plain = parsed("s3://city-carbon/beijing")
    assert plain.text == "s3://city-carbon/beijing"
    assert plain.reached({}) == (None, None)
    known = {"AWS_ENDPOINT_URL": "http://a", "AWS_DEFAULT_REGION": "r"}
    assert plain.reached(known) == ("http://a", "r")
    assert plain.reached({**known, "AWS_ENDPOINT_URL_S3": "http://b", "AWS_REGION": "q"}) == ("http://b", "q")
    assert parsed("s3://city-carbon/x?endpoint=http://c&region=p").reached(known) == ("http://c", "p")


@pytest.mark.parametrize("text", ["/srv/carbon", "file:///srv/carbon", "file://localhost/srv/carbon", "/srv/carbon/"])
def test_a_folder_is_a_path_or_a_file_address(text: str) -> None:
    assert parsed(text).folder == Path("/srv/carbon")


def test_an_escaped_path_of_a_file_address_is_read() -> None:
    assert parsed("file:///srv/%E7%A2%B3 1".replace(" ", "%20")).folder == Path("/srv/碳 1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "carbon",
        "./carbon",
        "/",
        "//server/share",
        "/srv/../etc",
        "/srv/a*",
        "/srv/[ab]",
        "/srv/a\nb",
        "file://other.host/srv",
        "file:///srv?x=1",
        "file:///srv/%2e%2e/etc",
        "file:///srv/%2A",
        "file:relative",
        "https://bucket.s3.amazonaws.com/x",
        "gs://bucket/x",
        "S3://city-carbon/x",
        "s3:/city-carbon/x",
        "s3://",
        "s3:///x",
        "s3://city-carbon",
        "s3://city-carbon/",
        "s3://ab/x",
        "s3://City/x",
        "s3://city..carbon/x",
        "s3://-city/x",
        "s3://city_carbon/x",
        f"s3://{'c' * 64}/x",
        "s3://city-carbon:9000/x",
        "s3://AKIA:hunter2hunter2@city-carbon/x",
        "s3://city-carbon/a//b",
        "s3://city-carbon/../other",
        "s3://city-carbon/a/./b",
        "s3://city-carbon/a*",
        "s3://city-carbon/a b",
        "s3://city-carbon/a%2f..",
        "s3://city-carbon/碳",
        "s3://city-\ncarbon/x",
        "s3://city-carbon/x\t",
        f"s3://city-carbon/{'a/' * 300}a",
        "s3://city-carbon/x#there",
        "s3://city-carbon/x#",
        "s3://city-carbon/x?region",
        "s3://city-carbon/x?region=",
        "s3://city-carbon/x?region=a&region=b",
        "s3://city-carbon/x?secret_key=hunter2hunter2",
        "s3://city-carbon/x?hunter2hunter2=1",
        "s3://city-carbon/x?endpoint=minio:9000",
        "s3://city-carbon/x?endpoint=ftp://minio",
        "s3://city-carbon/x?endpoint=http://u:hunter2hunter2@minio",
        "s3://city-carbon/x?endpoint=http://minio/path",
        "s3://city-carbon/x?endpoint=http://minio%0d%0aX:y",
        "s3://city-carbon/x?ca_file=city.pem",
        "s3://city-carbon/x?region=cn north",
    ],
)
def test_anything_else_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(TanzhangError) as caught:
        parsed(text)
    assert caught.value.code == "storage-address-malformed"
    assert "hunter2" not in str(caught.value)
    assert len(text) < 8 or text not in str(caught.value)


@given(st.text(max_size=60), st.sampled_from(["", "s3://", "s3://city-carbon/", "s3://city-carbon/x?", "file://", "/"]))
def test_whatever_is_read_reads_the_same_again_and_whatever_is_not_has_a_code(rest: str, start: str) -> None:
    try:
        found = parsed(start + rest)
    except TanzhangError as error:
        found, code = None, error.code
    assert found is not None or code == "storage-address-malformed"
    assert found is None or (parsed(found.text) == found and ".." not in Path(found.prefix).parts)
