from __future__ import annotations

import shutil
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from tanzhang.core import merkle
from tanzhang.core.checkpoint import Checkpoint
from tanzhang.core.errors import TanzhangError
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.note import format_note, parse_note, sign_note
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import Cosigner, NoteSigner
from tanzhang.stores.log import Log

# RFC 8032 section 7.1, TEST 1.
SIGNER = NoteSigner(
    "log.carbon.example/vectors", bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
ORIGIN = SIGNER.name
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ENTRIES = [f"manifest {index}".encode() for index in range(600)]


def a_log(folder: Path, entries: list[bytes]) -> Log:
    log = Log.create(folder, ORIGIN, SIGNER)
    log.publish(entries, SIGNER, first_index=0)
    return log


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 600 entries that published checkpoints at 0, 3, 256, 520 and 600."""
    folder = tmp_path_factory.mktemp("log") / "grown"
    log = Log.create(folder, ORIGIN, SIGNER)
    for start, end in ((0, 3), (3, 256), (256, 520), (520, 600)):
        log.publish(ENTRIES[start:end], SIGNER, first_index=start)
    return folder


@pytest.fixture
def copy(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "copy"))


def opened(folder: Path) -> Log:
    return Log.open(folder, ORIGIN, SIGNER.verifier)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_new_log_serves_the_frozen_size_0_checkpoint(tmp_path: Path) -> None:
    log = Log.create(tmp_path / "log", ORIGIN, SIGNER)
    assert log.size == 0
    assert log.root == merkle.EMPTY_ROOT
    assert log.entries() == []
    assert log.check() == []
    assert log.checkpoint_bytes().endswith(
        b" ACOkJm0aLVmaQxoX57sVwH9b5CrFsl+De+lqH+TyunR+RkmXUkuW3SHRIYVcpGwHTk4WraqGGnIZ2LIFpDtlNlovWws=\n"
    )
    assert set(files_of(tmp_path)) == {"log/checkpoint"}


def test_a_missing_log_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(TanzhangError) as refused:
        opened(tmp_path / "log")
    assert refused.value.code == "log-missing"
    with pytest.raises(TanzhangError) as refused:
        Log(tmp_path / "log", ORIGIN, SIGNER.verifier).publish([b"x"], SIGNER, first_index=0)
    assert refused.value.code == "log-missing"
    assert not (tmp_path / "log").exists()


def test_a_log_is_not_made_where_one_is_or_was(copy: Path) -> None:
    for _ in range(2):
        with pytest.raises(TanzhangError) as refused:
            Log.create(copy, ORIGIN, SIGNER)
        assert refused.value.code == "log-exists"
        (copy / "checkpoint").unlink(missing_ok=True)


def test_the_eight_leaves_have_the_frozen_files(tmp_path: Path) -> None:
    log = a_log(tmp_path, LEAVES)
    files = files_of(tmp_path)
    assert set(files) == {"checkpoint", "tile/entries/000.p/8", "tile/0/000.p/8"}
    assert files["tile/entries/000.p/8"].hex() == (
        "00000001000001100002202100023031000440414243000850515253545556570010606162636465666768696a6b6c6d6e6f"
    )
    assert sha256(files["tile/0/000.p/8"]).hexdigest() == (
        "aea2f1bbb5140fd5f8eacb503fdf54c00c3d860c72588e40233addd416bc8f10"
    )
    assert log.root == b64decode("XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=")
    assert files["checkpoint"].endswith(
        b" ACOkJhYZasJc6F8W1L0SrAYq+ns3tCHV6obQ/ZsXgFinNFAPCQNlh9/E/XUpE6kxCiAbsixQyqs8AQjQOOntGOj9mgU=\n"
    )


def test_entries_come_back_as_they_were_published(grown: Path) -> None:
    log = opened(grown)
    assert log.size == 600
    assert log.entries() == ENTRIES
    assert log.entry(300) == ENTRIES[300]
    for index in (-1, 600):
        with pytest.raises(TanzhangError) as refused:
            log.entry(index)
        assert refused.value.code == "tree-position-unknown"


def test_a_grown_log_serves_the_tiles_of_every_checkpoint_it_published(grown: Path) -> None:
    assert set(files_of(grown)) == {
        "checkpoint",
        *(f"tile/{kind}/{name}" for kind in ("entries", "0") for name in ("000.p/3", "000", "001", "002.p/8")),
        *(f"tile/{kind}/002.p/88" for kind in ("entries", "0")),
        "tile/1/000.p/1",
        "tile/1/000.p/2",
    }
    assert opened(grown).check() == []


def test_the_path_of_growth_does_not_change_the_tree(grown: Path, tmp_path: Path) -> None:
    log = a_log(tmp_path / "at once", ENTRIES)
    assert log.checkpoint_bytes() == opened(grown).checkpoint_bytes()


def test_an_entry_is_proven_offline(grown: Path) -> None:
    log = opened(grown)
    for index in (0, 255, 256, 599):
        proof = TlogProof.parse(log.prove(index, extra=b"hint"))
        proof.verify(leaf_hash(ENTRIES[index]), ORIGIN, SIGNER.verifier)
        assert list(proof.path) == log.inclusion_proof(index)
        assert proof.extra == b"hint"
    with pytest.raises(TanzhangError) as refused:
        log.prove(600)
    assert refused.value.code == "tree-position-unknown"


def test_growth_is_proven(grown: Path) -> None:
    log = opened(grown)
    for old_size in (1, 256, 599, 600):
        old_root = merkle.root([leaf_hash(entry) for entry in ENTRIES[:old_size]])
        merkle.verify_consistency(old_size, 600, old_root, log.root, log.consistency_proof(old_size))


def test_publishing_the_same_again_changes_no_byte(copy: Path) -> None:
    before = files_of(copy)
    log = opened(copy)
    log.publish(ENTRIES, SIGNER, first_index=0)
    log.publish(ENTRIES[520:], SIGNER, first_index=520)
    log.publish([], SIGNER, first_index=600)
    assert files_of(copy) == before


def test_publishing_again_with_more_appends_only_the_rest(copy: Path) -> None:
    checkpoint = opened(copy).publish([*ENTRIES[590:], b"one more"], SIGNER, first_index=590)
    assert checkpoint.size == 601
    assert opened(copy).entries() == [*ENTRIES, b"one more"]
    assert opened(copy).check() == []


def test_publishing_again_keeps_the_cosignatures(copy: Path) -> None:
    note = parse_note(opened(copy).checkpoint_bytes())
    witness = Cosigner("witness.example", bytes(32))
    cosigned = format_note(note.text, [*note.signatures, witness.cosign(note.text, 1_700_000_000)])
    (copy / "checkpoint").write_bytes(cosigned)
    opened(copy).publish(ENTRIES[520:], SIGNER, first_index=520)
    assert opened(copy).checkpoint_bytes() == cosigned


@pytest.mark.parametrize(
    ("entries", "first_index", "code"),
    [
        (ENTRIES[:599], 0, "log-would-shrink"),
        (ENTRIES[520:599], 520, "log-would-shrink"),
        ([], 0, "log-would-shrink"),
        ([b"late"], 601, "log-gap"),
        ([b"early"], -1, "log-gap"),
        ([b"other"], 599, "log-entry-conflict"),
        ([*ENTRIES[:599], b"other", b"more"], 0, "log-entry-conflict"),
        ([b"x" * 65_536], 600, "entry-too-long"),
    ],
)
def test_a_publication_that_does_not_continue_the_log_is_refused_and_writes_nothing(
    copy: Path, entries: list[bytes], first_index: int, code: str
) -> None:
    before = files_of(copy)
    with pytest.raises(TanzhangError) as refused:
        opened(copy).publish(entries, SIGNER, first_index=first_index)
    assert refused.value.code == code
    assert files_of(copy) == before


def test_another_key_cannot_publish(copy: Path) -> None:
    before = files_of(copy)
    with pytest.raises(TanzhangError) as refused:
        opened(copy).publish([b"more"], NoteSigner(ORIGIN, bytes(32)), first_index=600)
    assert refused.value.code == "log-key-wrong"
    assert files_of(copy) == before


def test_a_key_that_signs_wrongly_cannot_publish(copy: Path) -> None:
    class Faulty:
        name = SIGNER.name
        key_id = SIGNER.key_id

        def sign(self, text: bytes) -> bytes:
            return bytes(64)

    before = files_of(copy)
    with pytest.raises(TanzhangError) as refused:
        opened(copy).publish([b"more"], Faulty(), first_index=600)
    assert refused.value.code == "note-signature-invalid"
    assert files_of(copy) == before


def test_an_unpublished_tile_with_other_bytes_is_not_overwritten(copy: Path) -> None:
    left = copy / "tile/entries/002.p/89"
    left.write_bytes(b"left by someone else")
    with pytest.raises(TanzhangError) as refused:
        opened(copy).publish([b"more"], SIGNER, first_index=600)
    assert refused.value.code == "log-entry-changed"
    assert refused.value.problems[0].where == str(left)
    assert left.read_bytes() == b"left by someone else"
    assert opened(copy).size == 600


def test_of_two_publishers_of_one_index_exactly_one_succeeds(tmp_path: Path) -> None:
    log = a_log(tmp_path, ENTRIES[:5])

    def publish(entry: bytes) -> str:
        try:
            log.publish([entry], SIGNER, first_index=5)
        except TanzhangError as error:
            return error.code
        return "published"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(publish, [f"candidate {number}".encode() for number in range(8)]))
    assert sorted(outcomes) == ["log-entry-conflict"] * 7 + ["published"]
    assert log.size == 6
    assert log.check() == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("tile/entries/002.p/88", "log-entry-changed"),
        ("tile/0/002.p/88", "log-tile-changed"),
        ("tile/1/000.p/2", "log-tile-changed"),
    ],
)
def test_nothing_is_signed_on_top_of_a_changed_right_edge(copy: Path, name: str, code: str) -> None:
    damage(copy / name)
    before = files_of(copy)
    with pytest.raises(TanzhangError) as refused:
        opened(copy).publish([b"more"], SIGNER, first_index=600)
    assert refused.value.code == code
    assert files_of(copy) == before
    (copy / name).unlink()
    with pytest.raises(TanzhangError) as refused:
        opened(copy).publish([b"more"], SIGNER, first_index=600)
    assert refused.value.code == code.replace("changed", "missing")


def test_what_is_signed_does_not_depend_on_changed_entries_further_back(copy: Path) -> None:
    damage(copy / "tile/entries/001")
    damage(copy / "tile/0/000")
    assert opened(copy).publish([b"more"], SIGNER, first_index=600).root == merkle.root(
        [leaf_hash(entry) for entry in [*ENTRIES, b"more"]]
    )
    assert {problem.where for problem in opened(copy).check()} == {
        str(copy / "tile/entries/001"),
        str(copy / "tile/0/000"),
    }


def test_nothing_is_proved_from_a_changed_tile_and_no_changed_entry_is_given_out(copy: Path) -> None:
    damage(copy / "tile/entries/001")
    for attempt in (lambda: opened(copy).entry(400), lambda: opened(copy).entries()):
        with pytest.raises(TanzhangError) as refused:
            attempt()
        assert refused.value.code == "log-entry-changed"
    damage(copy / "tile/0/001")
    attempts = (lambda: opened(copy).prove(300), lambda: opened(copy).consistency_proof(300))
    for attempt in attempts:
        with pytest.raises(TanzhangError) as refused:
            attempt()
        assert refused.value.code == "log-tile-changed"
    (copy / "tile/0/001").unlink()
    for attempt in attempts:
        with pytest.raises(TanzhangError) as refused:
            attempt()
        assert refused.value.code == "log-tile-missing"


def test_publishing_and_proving_read_a_few_tiles_and_no_entry_but_those_of_the_edge(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, read = opened(copy), []
    whole = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path.relative_to(copy).as_posix())
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    log.publish([*ENTRIES[599:600], b"more"], SIGNER, first_index=599)
    assert set(read) == {
        *("checkpoint", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/002.p/88"),
        *("tile/entries/002.p/89", "tile/0/002.p/89"),  # are not there yet
    }
    read.clear()
    log.prove(300)
    assert sorted(read) == ["checkpoint", "tile/0/001", "tile/0/002.p/89", "tile/1/000.p/2"]


def test_tidying_removes_partial_files_that_a_full_one_replaces_and_no_other(copy: Path) -> None:
    before = set(files_of(copy))
    assert opened(copy).tidy() == 2
    assert before - set(files_of(copy)) == {"tile/entries/000.p/3", "tile/0/000.p/3"}
    assert opened(copy).check() == []
    assert opened(copy).tidy() == 0


def test_a_missing_bundle_is_named_when_entries_are_read(copy: Path) -> None:
    (copy / "tile/entries/001").unlink()
    with pytest.raises(TanzhangError) as refused:
        opened(copy).entries()
    assert refused.value.code == "log-entry-missing"
    assert refused.value.problems[0].where.endswith("tile/entries/001")


ALL_FILES = [
    "tile/entries/000",
    "tile/entries/000.p/3",
    "tile/entries/001",
    "tile/entries/002.p/8",
    "tile/entries/002.p/88",
    "tile/0/000",
    "tile/0/000.p/3",
    "tile/0/001",
    "tile/0/002.p/8",
    "tile/0/002.p/88",
    "tile/1/000.p/1",
    "tile/1/000.p/2",
]


@pytest.mark.parametrize("name", ALL_FILES)
def test_check_names_the_one_file_in_which_a_bit_was_changed(copy: Path, name: str) -> None:
    damage(copy / name)
    problems = opened(copy).check()
    assert [problem.where for problem in problems] == [str(copy / name)]
    assert problems[0].code == ("log-entry-changed" if "entries" in name else "log-tile-changed")


@pytest.mark.parametrize("name", ALL_FILES)
def test_check_names_a_file_that_was_cut_off(copy: Path, name: str) -> None:
    path = copy / name
    path.write_bytes(path.read_bytes()[:-1])
    assert [problem.where for problem in opened(copy).check()] == [str(path)]


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/entries/002.p/88", "tile/0/001", "tile/1/000.p/2"])
def test_check_names_a_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    problems = opened(copy).check()
    assert [(problem.code, problem.where) for problem in problems] == [
        ("log-entry-missing" if "entries" in name else "log-tile-missing", str(copy / name))
    ]


def test_check_names_a_folder_that_stands_in_for_a_file(copy: Path) -> None:
    (copy / "tile/0/001").unlink()
    (copy / "tile/0/001").mkdir()
    assert [problem.code for problem in opened(copy).check()] == ["log-tile-changed"]


def test_check_names_all_files_that_differ_and_no_other(copy: Path) -> None:
    changed = ["tile/entries/000", "tile/0/001", "tile/1/000.p/2", "tile/0/000.p/3", "tile/entries/002.p/8"]
    for name in changed:
        damage(copy / name)
    (copy / "tile/entries/002.p/88").unlink()
    wheres = [problem.where for problem in opened(copy).check()]
    assert sorted(wheres) == sorted(str(copy / name) for name in [*changed, "tile/entries/002.p/88"])


def test_check_names_both_where_the_signed_root_cannot_tell_which_of_two_files_was_changed(copy: Path) -> None:
    damage(copy / "tile/entries/000")
    (copy / "tile/entries/002.p/88").unlink()
    damage(copy / "tile/0/002.p/88")
    problems = {problem.where: problem.message for problem in opened(copy).check()}
    assert "disagree" in problems[str(copy / "tile/entries/000")]
    assert "disagree" in problems[str(copy / "tile/0/000")]
    assert "missing" in problems[str(copy / "tile/entries/002.p/88")]
    assert "signed root" in problems[str(copy / "checkpoint")]


def test_check_finds_entries_that_were_changed_together_with_all_their_tiles(copy: Path, tmp_path: Path) -> None:
    forged = a_log(tmp_path / "forged", [*ENTRIES[:300], b"forged", *ENTRIES[301:]])
    shutil.rmtree(copy / "tile")
    shutil.copytree(tmp_path / "forged" / "tile", copy / "tile")
    assert forged.check() == []
    problems = opened(copy).check()
    assert [problem.code for problem in problems] == ["log-root-mismatch"]
    assert problems[0].where == str(copy / "checkpoint")


@pytest.mark.parametrize("change", ["bit", "unsigned", "other key", "other origin", "empty"])
def test_a_changed_checkpoint_is_refused_and_the_other_files_are_checked_all_the_same(copy: Path, change: str) -> None:
    path = copy / "checkpoint"
    checkpoint = opened(copy).checkpoint()
    stranger = NoteSigner("stranger.example", bytes(32))
    if change == "bit":
        path.write_bytes(path.read_bytes().replace(b"\n600\n", b"\n601\n"))
    elif change == "unsigned":
        path.write_bytes(path.read_bytes().partition(b"\n\n")[0])
    elif change == "other key":
        path.write_bytes(sign_note(checkpoint.to_text(), [stranger]))
    elif change == "other origin":
        path.write_bytes(sign_note(Checkpoint("other.example", 600, checkpoint.root).to_text(), [SIGNER]))
    else:
        path.write_bytes(b"")
    damage(copy / "tile/1/000.p/2")
    far = copy / "tile/entries/x004/x611/x686/x018/x427/x387/903"  # must not make the check endless
    far.parent.mkdir(parents=True)
    far.touch()
    log = Log(copy, ORIGIN, SIGNER.verifier)
    with pytest.raises(TanzhangError) as refused:
        opened(copy)
    assert refused.value.code == "log-checkpoint-changed"
    assert [(problem.code, problem.where) for problem in log.check()] == [
        ("log-checkpoint-changed", str(path)),
        ("log-tile-changed", str(copy / "tile/1/000.p/2")),
    ]


def test_check_of_a_missing_log_says_so(tmp_path: Path) -> None:
    assert [problem.code for problem in Log(tmp_path, ORIGIN, SIGNER.verifier).check()] == ["log-missing"]


def test_partial_files_may_be_deleted_once_the_full_one_exists(copy: Path) -> None:
    for name in ("tile/entries/000.p", "tile/0/000.p"):
        shutil.rmtree(copy / name)
    assert opened(copy).check() == []
    assert opened(copy).entries() == ENTRIES


def test_leftovers_beyond_the_checkpoint_and_temporary_files_are_no_problem(copy: Path) -> None:
    (copy / "tile/0/002.p/99").write_bytes(b"unfinished")
    (copy / "tile/0/.002.deadbeef.tmp").write_bytes(b"unfinished")
    assert opened(copy).check() == []


def test_an_older_checkpoint_put_back_is_still_a_valid_log_and_republishing_repairs_it(copy: Path) -> None:
    newest = (copy / "checkpoint").read_bytes()
    older = Checkpoint(ORIGIN, 520, merkle.root([leaf_hash(entry) for entry in ENTRIES[:520]]))
    (copy / "checkpoint").write_bytes(sign_note(older.to_text(), [SIGNER]))
    assert opened(copy).check() == []
    opened(copy).publish(ENTRIES[520:], SIGNER, first_index=520)
    assert (copy / "checkpoint").read_bytes() == newest


def test_after_a_restore_other_entries_cannot_take_the_place_of_lost_ones(copy: Path) -> None:
    older = Checkpoint(ORIGIN, 520, merkle.root([leaf_hash(entry) for entry in ENTRIES[:520]]))
    (copy / "checkpoint").write_bytes(sign_note(older.to_text(), [SIGNER]))
    with pytest.raises(TanzhangError) as refused:
        opened(copy).publish([b"other"] * 80, SIGNER, first_index=520)
    assert refused.value.code == "log-entry-changed"
