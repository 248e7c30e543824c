"""The repository keeps its promises: links lead somewhere, texts name no machine, tests of data skip with a reason."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    if name and (ROOT / name).is_file()
]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in TRACKED:
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_relative_links_of_documents_lead_to_files():
    links, broken = 0, []
    for path, text in texts():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            links += 1
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert links > 5, "the test found nothing to look at"
    assert broken == []


def test_no_file_names_a_machine_or_a_home_directory():
    looked_at, named = 0, []
    for path, text in texts():
        looked_at += 1
        if re.search(r"(^|[\s\"'(=])/(work|root|home/[a-z]+)/", text, re.MULTILINE):
            named.append(str(path.relative_to(ROOT)))
    assert looked_at > 100
    assert named == []


def test_no_large_file_is_tracked():
    large = [str(path.relative_to(ROOT)) for path in TRACKED if path.stat().st_size > 1_000_000]
    assert large == []


def test_modules_are_short_enough_to_read_in_one_go():
    long = {
        str(path.relative_to(ROOT)): count
        for path in TRACKED
        if path.suffix == ".py"
        and "src" in path.parts
        and "versions" not in path.parts  # written by a script, never again by hand
        and (count := len(path.read_text().splitlines())) > 700
    }
    assert long == {}
