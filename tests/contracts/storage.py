"""What every storage does, wherever it keeps the bytes."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from service.clock import SystemClock
from service.errors import FileChangedError, StorageFailedError, StoredFileNotFoundError
from service.storage.base import Storage, StoredBytes
from service.store.ids import new_id
from service.store.records import NewFile

MIB = 1024 * 1024
ODD_SIZES = [0, 1, 4095, 4096, 4097, 65_537, MIB - 1, MIB, MIB + 1, 3 * MIB + 17]


def content(size: int) -> bytes:
    """Return bytes that differ from place to place, so that a piece in the wrong order shows."""
    return b"".join(hashlib.sha256(n.to_bytes(8)).digest() for n in range(size // 32 + 1))[:size]


async def keep(storage: Storage, key: str, *chunks: bytes | memoryview) -> StoredBytes:
    """Store chunks under a key."""
    async with storage.upload(key) as upload:
        for chunk in chunks:
            await upload.write(chunk)
        return await upload.keep()


async def read(storage: Storage, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """Read what is there."""
    async with storage.open_part(key, start, stop) as pieces:
        return b"".join([piece async for piece in pieces])


async def keep_recorded(storage: Storage, data: bytes) -> NewFile:
    """Store bytes, and return what is recorded of them."""
    stored = await keep(storage, key := new_id(), data)
    return NewFile(key, "a.txt", stored.media_type, stored.size_bytes, stored.sha256, SystemClock().now())


async def keys_of(storage: Storage) -> list[str]:
    """List all keys."""
    return sorted([key async for page in storage.list_keys() for key in page])


class StorageContract:
    """Inherited by the tests of each storage, which give a `storage` fixture."""

    @pytest.fixture
    async def storage(self) -> Storage:
        raise NotImplementedError

    @pytest.mark.parametrize("size", ODD_SIZES)
    @pytest.mark.parametrize("step", [1000, 65_536, 5 * MIB])
    async def test_what_is_kept_can_be_read_and_is_what_was_said(self, storage, size, step):
        sent, key = content(size), new_id()
        stored = await keep(storage, key, *(sent[n : n + step] for n in range(0, size, step)))
        assert (stored.size_bytes, stored.sha256) == (size, hashlib.sha256(sent).hexdigest())
        assert await read(storage, key) == sent

    async def test_empty_chunks_and_views_of_a_larger_buffer_are_chunks_like_any_other(self, storage):
        key = new_id()
        stored = await keep(storage, key, b"", b"ab", b"", memoryview(b"xxcdxx")[2:4], b"")
        assert await read(storage, key) == b"abcd"
        assert stored.size_bytes == 4

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [(0, None, b"0123456789"), (0, 0, b""), (0, 1, b"0"), (3, 7, b"3456"), (9, 10, b"9"), (5, None, b"56789"),
         (5, 100, b"56789"), (10, None, b""), (99, None, b"")],
    )  # fmt: skip
    async def test_a_part_can_be_read(self, storage, start, stop, expected):
        key = new_id()
        await keep(storage, key, b"0123456789")
        assert await read(storage, key, start, stop) == expected

    async def test_a_large_file_comes_in_pieces_of_about_a_mebibyte(self, storage):
        key = new_id()
        await keep(storage, key, content(3 * MIB + 5))
        async with storage.open_part(key) as pieces:
            sizes = [len(piece) async for piece in pieces]
        assert sum(sizes) == 3 * MIB + 5
        assert max(sizes) <= 2 * MIB

    async def test_there_is_nothing_under_a_key_before_it_is_kept(self, storage):
        key = new_id()
        async with storage.upload(key) as upload:
            await upload.write(content(2 * MIB))
            assert await keys_of(storage) == []
            with pytest.raises(StoredFileNotFoundError):
                await read(storage, key)
            await upload.keep()
        assert await keys_of(storage) == [key]

    @pytest.mark.parametrize("size", [0, 10, 3 * MIB])
    async def test_an_upload_that_is_not_kept_leaves_nothing(self, storage, size):
        async with storage.upload(new_id()) as upload:
            await upload.write(content(size))
        assert await keys_of(storage) == []

    async def test_an_upload_that_breaks_off_leaves_nothing(self, storage):
        async def break_off() -> None:
            async with storage.upload(new_id()) as upload:
                await upload.write(content(3 * MIB))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await break_off()
        assert await keys_of(storage) == []

    async def test_an_upload_that_is_cancelled_leaves_nothing(self, storage):
        begun = asyncio.Event()

        async def upload_for_ever() -> None:
            async with storage.upload(new_id()) as upload:
                while True:
                    await upload.write(content(MIB))
                    begun.set()

        task = asyncio.create_task(upload_for_ever())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await keys_of(storage) == []

    async def test_an_upload_counts_its_bytes_as_they_come(self, storage):
        async with storage.upload(new_id()) as upload:
            sizes = []
            for chunk in (b"abc", b"", b"d" * 5000):
                await upload.write(chunk)
                sizes.append(upload.size_bytes)
        assert sizes == [3, 3, 5003]

    async def test_many_uploads_at_once_do_not_mix(self, storage):
        sent = {new_id(): content(n * 10_007) for n in range(40)}
        await asyncio.gather(*(keep(storage, key, data[:5000], data[5000:]) for key, data in sent.items()))
        assert {key: await read(storage, key) for key in sent} == sent

    async def test_what_is_deleted_is_gone_and_deleting_nothing_is_no_error(self, storage):
        kept, gone = new_id(), new_id()
        await keep(storage, kept, b"kept")
        await keep(storage, gone, b"gone")
        await storage.delete([gone, new_id()])
        await storage.delete([gone])
        await storage.delete([])
        assert await keys_of(storage) == [kept]
        with pytest.raises(StoredFileNotFoundError):
            await read(storage, gone)

    @pytest.mark.parametrize("reads_only", [True, False])
    @pytest.mark.parametrize("size", ODD_SIZES)
    async def test_what_is_lent_is_a_file_of_the_borrowers_own(self, storage, tmp_path, size, reads_only):
        recorded, path = await keep_recorded(storage, content(size)), tmp_path / "view"
        await asyncio.to_thread(storage.lend, recorded, path, reads_only=reads_only, go_on=lambda: None)
        assert path.read_bytes() == content(size)
        path.unlink()
        assert await read(storage, recorded.id) == content(size)

    async def test_what_was_lent_may_be_written_to(self, storage, tmp_path):
        recorded, path = await keep_recorded(storage, b"whole"), tmp_path / "view"
        await asyncio.to_thread(storage.lend, recorded, path, reads_only=False, go_on=lambda: None)
        path.write_bytes(b"other")
        assert await read(storage, recorded.id) == b"whole"

    async def test_what_is_gone_or_is_not_what_was_recorded_is_not_lent_and_not_sent(self, storage, tmp_path):
        recorded = await keep_recorded(storage, b"whole")
        gone, longer, other = (
            replace(recorded, **change) for change in ({"id": new_id()}, {"size_bytes": 6}, {"sha256": "0" * 64})
        )
        for one, error in ((gone, StoredFileNotFoundError), (longer, FileChangedError), (other, FileChangedError)):
            for reads_only in (True, False):
                with pytest.raises(error):
                    storage.lend(one, tmp_path / "view", reads_only=reads_only, go_on=lambda: None)
            with pytest.raises(error):
                async with storage.open_part(one.id, 0, None, one):
                    pass
        assert list(tmp_path.glob("view")) == []

    async def test_lending_stops_when_it_is_told_to(self, storage, tmp_path):
        recorded = await keep_recorded(storage, content(MIB))

        def stop() -> None:
            raise StorageFailedError("stop")

        with pytest.raises(StorageFailedError, match="stop"):
            storage.lend(recorded, tmp_path / "view", reads_only=False, go_on=stop)

    @pytest.mark.parametrize("size", ODD_SIZES)
    async def test_a_finished_file_is_adopted_and_moved_away(self, storage, tmp_path, size):
        path, key = tmp_path / "made", new_id()
        path.write_bytes(content(size))
        stored = await storage.adopt(key, path)
        assert (stored.size_bytes, stored.sha256) == (size, hashlib.sha256(content(size)).hexdigest())
        assert await read(storage, key) == content(size)
        assert not path.exists()

    async def test_what_is_adopted_is_out_of_reach_for_whoever_has_it_by_another_name(self, storage, tmp_path):
        path, other, key = tmp_path / "made", tmp_path / "other", new_id()
        path.write_bytes(b"whole")
        other.hardlink_to(path)
        stored = await storage.adopt(key, path)
        other.chmod(0o600)
        other.write_bytes(b"spoilt")
        assert (await read(storage, key), stored.sha256) == (b"whole", hashlib.sha256(b"whole").hexdigest())
        assert not path.exists()

    async def test_what_is_adopted_is_out_of_reach_for_whoever_has_it_open(self, storage, tmp_path):
        path, key = tmp_path / "made", new_id()
        with path.open("wb", buffering=0) as log:  # as of a logger that nobody closed
            log.write(b"whole")
            stored = await storage.adopt(key, path)
            log.write(b" and more")
        assert (await read(storage, key), stored.size_bytes) == (b"whole", 5)
        assert not path.exists()

    async def test_a_link_is_not_adopted_wherever_it_points(self, storage, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("secret")
        link = tmp_path / "link"
        link.symlink_to(secret)
        with pytest.raises(StorageFailedError):
            await storage.adopt(new_id(), link)
        assert await keys_of(storage) == []
        assert secret.read_text() == "secret"

    async def test_what_is_not_there_cannot_be_adopted(self, storage, tmp_path):
        with pytest.raises(StorageFailedError):
            await storage.adopt(new_id(), tmp_path / "missing")
        assert await keys_of(storage) == []

    @pytest.mark.parametrize(
        ("sent", "media_type"),
        [(b"", "application/x-empty"), (b"%PDF-1.7\n%\xe2\xe3\n", "application/pdf"), (b"hello\n", "text/plain"),
         (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00", "image/png")],
    )  # fmt: skip
    async def test_the_media_type_comes_from_the_bytes(self, storage, tmp_path, sent, media_type):
        path = tmp_path / "photo.jpg"
        path.write_bytes(sent)
        assert (await keep(storage, new_id(), sent)).media_type == media_type
        assert (await keep(storage, new_id(), *(sent[n : n + 1] for n in range(len(sent))))).media_type == media_type
        assert (await storage.adopt(new_id(), path)).media_type == media_type

    async def test_all_keys_are_listed_however_many(self, storage):
        keys = sorted(new_id() for _ in range(25))
        await asyncio.gather(*(keep(storage, key, b"x") for key in keys))
        assert await keys_of(storage) == keys

    async def test_what_is_kept_is_fresh_until_it_is_confirmed_or_deleted(self, storage, tmp_path):
        kept, adopted, gone, broken = [new_id() for _ in range(4)]
        (tmp_path / "made").write_bytes(b"made")
        async with storage.upload(broken):
            assert storage.list_fresh() == [broken]
        await keep(storage, kept, b"x")
        await keep(storage, gone, b"x")
        await storage.adopt(adopted, tmp_path / "made")
        assert sorted(storage.list_fresh()) == sorted([kept, adopted, gone])
        await storage.delete([gone])
        storage.confirm([kept, new_id()])
        assert storage.list_fresh() == [adopted]

    async def test_a_storage_in_good_health_says_so_to_all_who_ask_and_keeps_nothing(self, storage):
        await asyncio.gather(*(storage.check() for _ in range(20)))
        assert await keys_of(storage) == []
