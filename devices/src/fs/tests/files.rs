//! Reading, writing, holes, copying.

use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::client::{MAX_DATA, O_APPEND, O_RDWR, O_TRUNC, O_WRONLY, ROOT};
use super::number;
use super::place::{Place, make_host, read_host};
use super::reply::{Args, mode, u32_at, u64_at};
use crate::fs::wire::op;
use crate::testing::desc;

/// Bytes that are not all the same.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn what_is_written_is_read_by_both_sides() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let bytes = pattern(MAX_DATA);
    assert_eq!(client.put(file.node, fh, 0, &bytes), Ok(1 << 20));
    assert_eq!(read_host(&place.path("file")), bytes);
    assert_eq!(client.read(file.node, fh, 0, MAX_DATA).unwrap(), bytes);
    assert_eq!(client.read(file.node, fh, 5, 7).unwrap(), bytes[5..12]);
    // At and behind the end there is nothing.
    let end = u64::try_from(MAX_DATA).unwrap();
    assert_eq!(
        client.read(file.node, fh, end - 3, 100).unwrap(),
        bytes[MAX_DATA - 3..]
    );
    assert_eq!(client.read(file.node, fh, end, 100).unwrap(), b"");
    assert_eq!(client.read(file.node, fh, 1 << 40, 100).unwrap(), b"");
    let error = client.read(file.node, fh, u64::MAX, 100).unwrap_err();
    assert_eq!(error, number(Errno::FAULT));
}

#[test]
fn a_page_per_buffer_is_one_read() {
    let place = Place::new();
    let bytes = pattern(1 << 20);
    make_host(&place.path("file"), &bytes);
    let mut client = place.client();
    let file = client.lookup(ROOT, "file").unwrap();
    let (fh, _) = client.open(file.node, 0).unwrap();
    let args = Args::new()
        .u64(fh)
        .u64(0)
        .u32(1 << 20)
        .u32(0)
        .bytes(&[0; 16]);
    let mut request = client.header(op::READ, file.node, args.0.len());
    request.extend(&args.0);
    client.driver.put(0x1000, &request);
    // The pages lie backwards in memory.
    let page = |index: u64| desc(super::client::DATA + (255 - index) * 4096, 4096, true);
    let mut buffers = vec![desc(0x1000, 80, false), desc(0x2000, 16, true)];
    buffers.extend((0..256).map(page));
    let head = client.driver.rings[1].add_indirect(0x8000, &buffers);
    client.driver.kick(1);
    assert_eq!(client.driver.rings[1].used(), [(head, (1 << 20) + 16)]);
    for index in [0, 1, 100, 255] {
        let at = usize::try_from(index * 4096).unwrap();
        let (addr, ..) = page(index);
        assert_eq!(
            client.driver.get(addr, 4096),
            bytes[at..at + 4096],
            "{index}"
        );
    }
}

#[test]
fn handles_may_do_what_they_were_opened_for() {
    let place = Place::new();
    make_host(&place.path("file"), b"contents");
    let mut client = place.client();
    let file = client.lookup(ROOT, "file").unwrap();
    let (reads, _) = client.open(file.node, 0).unwrap();
    let (writes, _) = client.open(file.node, O_WRONLY).unwrap();
    let bad = number(Errno::BADF);
    assert_eq!(client.put(file.node, reads, 0, b"x"), Err(bad));
    assert_eq!(client.read(file.node, writes, 0, 1), Err(bad));
    // A handle is of one file, of one kind, and gone when it is closed.
    assert_eq!(client.read(ROOT, reads, 0, 1), Err(bad));
    assert_eq!(
        client.readdir_at((file.node, reads), 0, 100, false),
        Err(bad)
    );
    client.release(file.node, reads).unwrap();
    assert_eq!(client.read(file.node, reads, 0, 1), Err(bad));
    assert_eq!(client.release(file.node, reads), Err(bad));
    // What was opened can still be used when nobody may open it.
    client.setattr(file.node, &mode(0)).unwrap();
    assert_eq!(client.put(file.node, writes, 0, b"C"), Ok(1));
    client.setattr(file.node, &mode(0o600)).unwrap();
    assert_eq!(client.open(file.node, 3), Err(number(Errno::INVAL)));
    let (_, _) = client.open(file.node, O_WRONLY | O_TRUNC).unwrap();
    assert_eq!(client.getattr(file.node).unwrap().size, 0);
}

#[test]
fn what_is_no_file_is_never_opened() {
    let place = Place::new();
    let mut client = place.client();
    let fifo = client.mknod(ROOT, "fifo", 0o1_0666, 0).unwrap();
    let socket = client.mknod(ROOT, "socket", 0o14_0666, 0).unwrap();
    let link = client.symlink(ROOT, "link", "file").unwrap();
    let nxio = number(Errno::NXIO);
    for flags in [0, O_WRONLY, O_RDWR] {
        // With nobody at the other end, opening a pipe would wait.
        assert_eq!(client.open(fifo.node, flags), Err(nxio));
        assert_eq!(client.open(socket.node, flags), Err(nxio));
        assert_eq!(client.open(link.node, flags), Err(number(Errno::LOOP)));
        assert_eq!(client.open(ROOT, flags), Err(number(Errno::ISDIR)));
    }
    assert_eq!(client.opendir(fifo.node), Err(number(Errno::NOTDIR)));
}

#[test]
fn appending_finds_the_end_that_the_host_moved() {
    let place = Place::new();
    let host = make_host(&place.path("log"), b"one\n");
    let mut client = place.client();
    let file = client.lookup(ROOT, "log").unwrap();
    let (fh, _) = client.open(file.node, O_WRONLY | O_APPEND).unwrap();
    host.write_all_at(b"two\n", 4).unwrap();
    // The guest still believes that the end is at 4.
    client
        .write((file.node, fh), 4, b"three\n", (0, O_APPEND))
        .unwrap();
    assert_eq!(read_host(&place.path("log")), b"one\ntwo\nthree\n");
    // A page of a mapping goes to its place, through whatever handle.
    client
        .write((file.node, fh), 0, b"ONE", (1, O_APPEND))
        .unwrap();
    assert_eq!(read_host(&place.path("log")), b"ONE\ntwo\nthree\n");
    // And so does what is written after the process took O_APPEND back.
    client.write((file.node, fh), 4, b"TWO", (0, 0)).unwrap();
    assert_eq!(read_host(&place.path("log")), b"ONE\nTWO\nthree\n");
}

#[test]
fn large_files_are_sparse() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let far = 5 << 30;
    client.put(file.node, fh, 0, b"begin").unwrap();
    client.put(file.node, fh, far, b"end").unwrap();
    assert_eq!(client.getattr(file.node).unwrap().size, far + 3);
    assert_eq!(client.read(file.node, fh, far, 10).unwrap(), b"end");
    let mut seek = |offset: u64, whence: u32| {
        let args = Args::new().u64(fh).u64(offset).u32(whence).u32(0);
        let reply = client.call(op::LSEEK, file.node, &args)?;
        Ok(u64_at(&reply, 0))
    };
    let hole = seek(0, 4).unwrap();
    assert!((5..1 << 20).contains(&hole), "{hole}");
    let data = seek(hole, 3).unwrap();
    assert!((far - (1 << 20)..=far).contains(&data), "{data}");
    assert_eq!(seek(far, 4), Ok(far + 3));
    assert_eq!(seek(far + 3, 3), Err(number(Errno::NXIO)));
    assert_eq!(seek(u64::MAX, 3), Err(number(Errno::NXIO)));
    assert_eq!(seek(0, 0), Err(number(Errno::INVAL)));
}

#[test]
fn space_is_allocated_and_given_back() {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let mut allocate = |offset: u64, len: u64, mode: u32| {
        let args = Args::new().u64(fh).u64(offset).u64(len).u32(mode).u32(0);
        client.call(op::FALLOCATE, file.node, &args).map(drop)
    };
    allocate(0, 0x1_0000, 0).unwrap();
    allocate(0x1_0000, 0x1_0000, KEEP_SIZE).unwrap();
    assert_eq!(allocate(0, 1, 0x80), Err(number(Errno::OPNOTSUPP)));
    assert_eq!(allocate(0, u64::MAX, 0), Err(number(Errno::INVAL)));
    assert_eq!(allocate(0, 0, 0), Err(number(Errno::INVAL)));
    client.put(file.node, fh, 0, &[7; 0x1_0000]).unwrap();
    let args = Args::new()
        .u64(fh)
        .u64(0x1000)
        .u64(0x1000)
        .u32(KEEP_SIZE | PUNCH_HOLE)
        .u32(0);
    client.call(op::FALLOCATE, file.node, &args).unwrap();
    let bytes = read_host(&place.path("file"));
    assert_eq!(bytes.len(), 0x1_0000);
    assert_eq!(bytes[0xfff..0x1001], [7, 0]);
    assert_eq!(bytes[0x1fff..0x2001], [0, 7]);
}

#[test]
fn ranges_are_copied_by_the_host() {
    let place = Place::new();
    make_host(&place.path("from"), &pattern(100_000));
    let mut client = place.client();
    let from = client.lookup(ROOT, "from").unwrap();
    let (source, _) = client.open(from.node, 0).unwrap();
    let (to, target) = client.create(ROOT, "to", O_RDWR, 0o644).unwrap();
    let mut copy = |offset: u64, len: u64, flags: u64| {
        let args = Args::new()
            .u64(source)
            .u64(offset)
            .u64(to.node)
            .u64(target)
            .u64(0)
            .u64(len)
            .u64(flags);
        let reply = client.call(op::COPY_FILE_RANGE, from.node, &args)?;
        Ok(u32_at(&reply, 0))
    };
    assert_eq!(copy(10, u64::MAX, 0), Ok(99_990));
    assert_eq!(read_host(&place.path("to")), pattern(100_000)[10..]);
    assert_eq!(copy(100_000, 5, 0), Ok(0));
    assert_eq!(copy(0, 5, 1), Err(number(Errno::INVAL)));
    assert_eq!(copy(u64::MAX, 5, 0), Err(number(Errno::INVAL)));
}

#[test]
fn syncing_works_for_files_directories_and_all() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    for flags in [0, 1] {
        let args = Args::new().u64(fh).u32(flags).u32(0);
        client.call(op::FSYNC, file.node, &args).unwrap();
    }
    let dir = client.opendir(ROOT).unwrap();
    let args = Args::new().u64(dir).u64(0);
    client.call(op::FSYNCDIR, ROOT, &args).unwrap();
    let wrong = client.call(op::FSYNC, ROOT, &args);
    assert_eq!(wrong, Err(number(Errno::BADF)));
    client.call(op::SYNCFS, ROOT, &Args::new().u64(0)).unwrap();
}

#[test]
fn a_write_that_lies_about_its_length_is_refused() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    for size in [9, 4096, (1 << 20) + 1, u32::MAX] {
        let args = Args::new()
            .u64(fh)
            .u64(0)
            .u32(size)
            .u32(0)
            .bytes(&[0; 16])
            .bytes(b"8 bytes.");
        let reply = client.call(op::WRITE, file.node, &args);
        assert_eq!(reply, Err(number(Errno::INVAL)), "{size}");
    }
    assert_eq!(client.getattr(file.node).unwrap().size, 0);
}
