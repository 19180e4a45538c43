//! The guest's kernel, as far as it matters: FUSE requests through the queues of a mock driver.

use std::collections::BTreeMap;
use std::ops::DerefMut;

use super::reply::{Args, Attr, Dirent, Entry, Set, u32_at, u64_at};
use crate::fs::Fs;
use crate::fs::wire::op;
use crate::testing::{Driver, desc};

pub(super) const ROOT: u64 = 1;
/// Where requests, headers of replies, and data lie in the guest's memory.
const REQUEST: u64 = 0x1_0000;
const REPLY: u64 = 0x8000;
pub(super) const DATA: u64 = 0x10_0000;
pub(super) const MAX_DATA: usize = 0x10_0000;

pub(super) const O_WRONLY: u32 = 1;
pub(super) const O_RDWR: u32 = 2;
pub(super) const O_EXCL: u32 = 0o200;
pub(super) const O_TRUNC: u32 = 0o1000;
pub(super) const O_APPEND: u32 = 0o2000;

/// All flags that Linux 6.12 offers, more or less.
pub(super) const LINUX_FLAGS: u64 = 0xff_ffff_ffff;

pub(super) type Reply = Result<Vec<u8>, i32>;

pub(super) struct Client<D = Box<Driver>> {
    pub(super) driver: D,
    pub(super) uid: u32,
    pub(super) gid: u32,
    unique: u64,
    /// Requests without a reply so far: head to unique, and where their replies are.
    waiting: BTreeMap<u16, (u64, u64)>,
}

impl Client {
    /// The guest goes on with its device restored.
    pub(super) fn restored(mut self, restore: impl FnOnce(&crate::DeviceState) -> Fs) -> Self {
        self.driver.transport.pause();
        let state = self.driver.transport.save();
        let bytes = postcard::to_stdvec(&state).unwrap();
        let state: crate::TransportState = postcard::from_bytes(&bytes).unwrap();
        // The old device lets go of its locks.
        self.driver.write(0x70, 0);
        self.driver.run();
        let device = restore(&state.device);
        self.restored_with(&state, device)
    }

    /// The guest goes on with another device.
    pub(super) fn restored_with(self, state: &crate::TransportState, device: Fs) -> Self {
        let driver = self.driver.restored(state, Box::new(device));
        driver.transport.resume();
        let driver = Box::new(driver);
        let mut client = Self { driver, ..self };
        client.driver.run();
        client
    }
}

impl<D: DerefMut<Target = Driver>> Client<D> {
    pub(super) fn over(driver: D) -> Self {
        Self {
            driver,
            uid: 0,
            gid: 0,
            unique: 0,
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn header(&mut self, opcode: u32, node: u64, len: usize) -> Vec<u8> {
        self.unique += 2;
        let len = u32::try_from(40 + len).unwrap();
        Args::new()
            .u32(len)
            .u32(opcode)
            .u64(self.unique)
            .u64(node)
            .u32(self.uid)
            .u32(self.gid)
            .u64(0)
            .0
    }

    /// Sends a request; its header and arguments in two buffers, as Linux does. The head of its chain.
    pub(super) fn send(
        &mut self,
        opcode: u32,
        node: u64,
        args: &Args,
        reply: u64,
        room: usize,
    ) -> u16 {
        let head = self.add(opcode, node, args, (REQUEST, reply), room);
        self.driver.kick(1);
        head
    }

    /// Puts a request and the place of its reply into the ring, of which the device is not told.
    pub(super) fn add(
        &mut self,
        opcode: u32,
        node: u64,
        args: &Args,
        (at, reply): (u64, u64),
        room: usize,
    ) -> u16 {
        let mut request = self.header(opcode, node, args.0.len());
        request.extend(&args.0);
        self.driver.put(at, &request);
        let mut buffers = vec![desc(at, 40, false)];
        if !args.0.is_empty() {
            buffers.push(desc(at + 40, args.0.len(), false));
        }
        if room > 0 {
            buffers.push(desc(reply, 16, true));
        }
        if room > 16 {
            buffers.push(desc(DATA, room - 16, true));
        }
        let head = self.driver.rings[1].add(&buffers);
        self.waiting.insert(head, (self.unique, reply));
        head
    }

    /// The reply to a request that was sent, if it is there. Checks that it is well-formed.
    pub(super) fn take(&mut self, wanted: u16) -> Option<Reply> {
        let mut found = None;
        for (head, written) in self.driver.rings[1].used() {
            let (unique, at) = self.waiting.remove(&head).expect("a reply to no request");
            let reply = self.parse(at, written, unique);
            assert_eq!(head, wanted, "another request was answered");
            found = Some(reply);
        }
        found
    }

    /// A test has looked at the reply itself.
    pub(super) fn waits_no_more(&mut self, head: u16) {
        self.waiting.remove(&head);
    }

    fn parse(&self, at: u64, written: u32, unique: u64) -> Reply {
        let head = self.driver.get(at, 16);
        assert_eq!(u32_at(&head, 0), written, "length of the reply");
        assert_eq!(u64_at(&head, 8), unique);
        let error = i32::from_ne_bytes(head[4..8].try_into().unwrap());
        let len = usize::try_from(written).unwrap() - 16;
        if error != 0 {
            assert!((-511..0).contains(&error), "{error}");
            assert_eq!(len, 0);
            return Err(-error);
        }
        Ok(self.driver.get(DATA, len))
    }

    pub(super) fn call(&mut self, opcode: u32, node: u64, args: &Args) -> Reply {
        self.call_with_room(opcode, node, args, 16 + 0x1000)
    }

    pub(super) fn call_with_room(
        &mut self,
        opcode: u32,
        node: u64,
        args: &Args,
        room: usize,
    ) -> Reply {
        let head = self.send(opcode, node, args, REPLY, room);
        self.take(head).expect("no reply")
    }

    pub(super) fn init(&mut self, flags: u64) -> Vec<u8> {
        let half = |flags: u64| u32::try_from(flags & 0xffff_ffff).unwrap();
        let args = Args::new()
            .u32(7)
            .u32(41)
            .u32(0x2_0000)
            .u32(half(flags))
            .u32(half(flags >> 32))
            .bytes(&[0; 44]);
        self.call(op::INIT, 0, &args).unwrap()
    }

    /// Sends a request that has no reply.
    pub(super) fn tell(&mut self, queue: usize, opcode: u32, node: u64, args: &Args) {
        let mut request = self.header(opcode, node, args.0.len());
        request.extend(&args.0);
        self.driver.put(REQUEST, &request);
        let written = self
            .driver
            .request(queue, &[desc(REQUEST, request.len(), false)]);
        assert_eq!(written, Some(0));
    }

    pub(super) fn forget(&mut self, node: u64, count: u64) {
        self.tell(0, op::FORGET, node, &Args::new().u64(count));
    }

    pub(super) fn lookup(&mut self, parent: u64, name: &str) -> Result<Entry, i32> {
        let reply = self.call(op::LOOKUP, parent, &Args::new().name(name))?;
        Ok(Entry::parse(&reply))
    }

    /// Looks up component by component.
    pub(super) fn walk(&mut self, path: &str) -> Result<Entry, i32> {
        let mut entry = None;
        let mut node = ROOT;
        for name in path.split('/') {
            let found = self.lookup(node, name)?;
            node = found.node;
            entry = Some(found);
        }
        Ok(entry.unwrap())
    }

    pub(super) fn getattr(&mut self, node: u64) -> Result<Attr, i32> {
        let args = Args::new().u64(0).u64(0);
        let reply = self.call(op::GETATTR, node, &args)?;
        assert_eq!(reply.len(), 104);
        Ok(Attr::parse(&reply[16..]))
    }

    pub(super) fn getattr_of(&mut self, node: u64, fh: u64) -> Result<Attr, i32> {
        let args = Args::new().u64(1).u64(fh);
        let reply = self.call(op::GETATTR, node, &args)?;
        Ok(Attr::parse(&reply[16..]))
    }

    pub(super) fn setattr(&mut self, node: u64, set: &Set) -> Result<Attr, i32> {
        let args = Args::new()
            .u32(set.valid)
            .u32(0)
            .u64(set.fh)
            .u64(set.size)
            .u64(0)
            .u64(set.atime.0)
            .u64(set.mtime.0)
            .u64(0)
            .u32(set.atime.1)
            .u32(set.mtime.1)
            .u32(0)
            .u32(set.mode)
            .u32(0)
            .u32(set.uid)
            .u32(set.gid)
            .u32(0);
        let reply = self.call(op::SETATTR, node, &args)?;
        Ok(Attr::parse(&reply[16..]))
    }

    pub(super) fn mkdir(&mut self, parent: u64, name: &str, mode: u32) -> Result<Entry, i32> {
        let args = Args::new().u32(mode).u32(0o22).name(name);
        let reply = self.call(op::MKDIR, parent, &args)?;
        Ok(Entry::parse(&reply))
    }

    pub(super) fn mknod(
        &mut self,
        parent: u64,
        name: &str,
        mode: u32,
        rdev: u32,
    ) -> Result<Entry, i32> {
        let args = Args::new().u32(mode).u32(rdev).u32(0).u32(0).name(name);
        let reply = self.call(op::MKNOD, parent, &args)?;
        Ok(Entry::parse(&reply))
    }

    pub(super) fn symlink(&mut self, parent: u64, name: &str, to: &str) -> Result<Entry, i32> {
        let args = Args::new().name(name).name(to);
        let reply = self.call(op::SYMLINK, parent, &args)?;
        Ok(Entry::parse(&reply))
    }

    pub(super) fn readlink(&mut self, node: u64) -> Result<String, i32> {
        let reply = self.call(op::READLINK, node, &Args::new())?;
        Ok(String::from_utf8(reply).unwrap())
    }

    pub(super) fn link(&mut self, node: u64, parent: u64, name: &str) -> Result<Entry, i32> {
        let args = Args::new().u64(node).name(name);
        let reply = self.call(op::LINK, parent, &args)?;
        Ok(Entry::parse(&reply))
    }

    pub(super) fn unlink(&mut self, parent: u64, name: &str) -> Result<(), i32> {
        let args = Args::new().name(name);
        self.call(op::UNLINK, parent, &args).map(drop)
    }

    pub(super) fn rmdir(&mut self, parent: u64, name: &str) -> Result<(), i32> {
        let args = Args::new().name(name);
        self.call(op::RMDIR, parent, &args).map(drop)
    }

    pub(super) fn rename(
        &mut self,
        (old_parent, old): (u64, &str),
        (new_parent, new): (u64, &str),
        flags: u32,
    ) -> Result<(), i32> {
        let args = Args::new()
            .u64(new_parent)
            .u32(flags)
            .u32(0)
            .name(old)
            .name(new);
        self.call(op::RENAME2, old_parent, &args).map(drop)
    }

    /// The new file, its handle, and the flags of opening.
    pub(super) fn create(
        &mut self,
        parent: u64,
        name: &str,
        flags: u32,
        mode: u32,
    ) -> Result<(Entry, u64), i32> {
        let args = Args::new().u32(flags).u32(mode).u32(0).u32(0).name(name);
        let reply = self.call(op::CREATE, parent, &args)?;
        assert_eq!(reply.len(), 144);
        Ok((Entry::parse(&reply), u64_at(&reply, 128)))
    }

    pub(super) fn open(&mut self, node: u64, flags: u32) -> Result<(u64, u32), i32> {
        let reply = self.call(op::OPEN, node, &Args::new().u32(flags).u32(0))?;
        Ok((u64_at(&reply, 0), u32_at(&reply, 8)))
    }

    pub(super) fn opendir(&mut self, node: u64) -> Result<u64, i32> {
        let reply = self.call(op::OPENDIR, node, &Args::new().u64(0))?;
        Ok(u64_at(&reply, 0))
    }

    pub(super) fn release(&mut self, node: u64, fh: u64) -> Result<(), i32> {
        let args = Args::new().u64(fh).u32(0).u32(0).u64(0);
        self.call(op::RELEASE, node, &args).map(drop)
    }

    pub(super) fn flush(&mut self, node: u64, fh: u64, owner: u64) -> Result<(), i32> {
        let args = Args::new().u64(fh).u64(0).u64(owner);
        self.call(op::FLUSH, node, &args).map(drop)
    }

    pub(super) fn read(&mut self, node: u64, fh: u64, offset: u64, size: usize) -> Reply {
        let args = Args::new()
            .u64(fh)
            .u64(offset)
            .u32(u32::try_from(size).unwrap())
            .u32(0)
            .u64(0)
            .u64(0);
        self.call_with_room(op::READ, node, &args, 16 + size)
    }

    pub(super) fn write(
        &mut self,
        (node, fh): (u64, u64),
        offset: u64,
        data: &[u8],
        (write_flags, flags): (u32, u32),
    ) -> Result<u32, i32> {
        let args = Args::new()
            .u64(fh)
            .u64(offset)
            .u32(u32::try_from(data.len()).unwrap())
            .u32(write_flags)
            .u64(0)
            .u32(flags)
            .u32(0);
        let mut request = self.header(op::WRITE, node, 40 + data.len());
        request.extend(&args.0);
        self.driver.put(REQUEST, &request);
        self.driver.put(DATA, data);
        let buffers = [
            desc(REQUEST, 80, false),
            desc(DATA, data.len(), false),
            desc(REPLY, 24, true),
        ];
        let unique = self.unique;
        let written = self.driver.request(1, &buffers).expect("no reply");
        let reply = self.driver.get(REPLY, 24);
        assert_eq!(u64_at(&reply, 8), unique);
        let error = i32::from_ne_bytes(reply[4..8].try_into().unwrap());
        if error != 0 {
            assert_eq!(written, 16);
            return Err(-error);
        }
        assert_eq!(written, 24);
        Ok(u32_at(&reply, 16))
    }

    /// Writes through a handle of the file.
    pub(super) fn put(&mut self, node: u64, fh: u64, offset: u64, data: &[u8]) -> Result<u32, i32> {
        self.write((node, fh), offset, data, (0, 0))
    }

    /// One reply of READDIR or READDIRPLUS.
    pub(super) fn readdir_at(
        &mut self,
        (node, fh): (u64, u64),
        offset: u64,
        size: usize,
        plus: bool,
    ) -> Result<Vec<(String, Dirent)>, i32> {
        let args = Args::new()
            .u64(fh)
            .u64(offset)
            .u32(u32::try_from(size).unwrap())
            .u32(0)
            .u64(0)
            .u64(0);
        let opcode = if plus { op::READDIRPLUS } else { op::READDIR };
        let reply = self.call_with_room(opcode, node, &args, 16 + size)?;
        let mut rest = &reply[..];
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let mut entry = None;
            let mut head = 0;
            if plus {
                if u64_at(rest, 0) != 0 {
                    entry = Some(Entry::parse(rest));
                }
                head = 128;
            }
            let len = usize::try_from(u32_at(rest, head + 16)).unwrap();
            let name = String::from_utf8(rest[head + 24..head + 24 + len].to_vec()).unwrap();
            let dirent = Dirent {
                ino: u64_at(rest, head),
                offset: u64_at(rest, head + 8),
                kind: u32_at(rest, head + 20),
                entry,
            };
            entries.push((name, dirent));
            rest = &rest[(head + 24 + len).next_multiple_of(8)..];
        }
        Ok(entries)
    }

    /// All of a directory, in replies of at most `size` bytes.
    pub(super) fn list(&mut self, node: u64, size: usize, plus: bool) -> Vec<(String, Dirent)> {
        let fh = self.opendir(node).unwrap();
        let mut all: Vec<(String, Dirent)> = Vec::new();
        loop {
            let offset = all.last().map_or(0, |(_, entry)| entry.offset);
            let entries = self.readdir_at((node, fh), offset, size, plus).unwrap();
            if entries.is_empty() {
                break;
            }
            all.extend(entries);
        }
        self.release_dir(node, fh).unwrap();
        all
    }

    pub(super) fn release_dir(&mut self, node: u64, fh: u64) -> Result<(), i32> {
        let args = Args::new().u64(fh).u32(0).u32(0).u64(0);
        self.call(op::RELEASEDIR, node, &args).map(drop)
    }

    pub(super) fn setxattr(&mut self, node: u64, name: &str, value: &[u8]) -> Result<(), i32> {
        let args = Args::new()
            .u32(u32::try_from(value.len()).unwrap())
            .u32(0)
            .u64(0)
            .name(name)
            .bytes(value);
        self.call(op::SETXATTR, node, &args).map(drop)
    }

    pub(super) fn getxattr(&mut self, node: u64, name: &str, size: u32) -> Reply {
        let args = Args::new().u32(size).u32(0).name(name);
        self.call_with_room(op::GETXATTR, node, &args, 16 + 0x1_0000)
    }

    pub(super) fn listxattr(&mut self, node: u64, size: u32) -> Reply {
        let args = Args::new().u32(size).u32(0);
        self.call_with_room(op::LISTXATTR, node, &args, 16 + 0x1_0000)
    }
}
