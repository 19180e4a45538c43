//! Saving a microVM that runs, from any process, by the API of its VMM. All of it blocks: for as long as disks take.
//!
//! Its disks are copied while it stands still and nothing is in flight to them, so they are of the same moment as its memory; then it goes on,
//! and its memory is written by a copy of its process.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hull_vm_api::client::ClientError;
use hull_vm_api::config::HostPath;
use hull_vm_api::request::{SnapshotCreate, SnapshotType};
use hull_vm_api::{Client, Stage};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use super::known::Known;
use super::net::NetSpec;
use super::owned::io_error;
use super::saved::{self, Past};
use super::shelf::VmStatus;
use super::snapshot::{Draft, SavedDisk, disk_file};
use super::{Listed, MicroVms, NetTarget, Owned, SpecError, VmError, VmName, VmSpec, VmTaken};
use crate::container::remove_tree;
use crate::disk;
use crate::errand::{MEMORY, STATE};
use crate::network::Publication;

/// How long a VMM may take to write a machine down. It is at the disk's speed, and disks are slow at times.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a microVM that goes on from a snapshot differs from the one that the snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmChanges {
    /// Its name; a random one otherwise.
    pub name: Option<VmName>,
    /// Whether it is removed at its end.
    pub auto_remove: bool,
    /// Other ends for all of its interfaces, in their order; none for those that they had.
    pub networks: Vec<NetSpec>,
    /// Ports of the host that are its guest's. Those of the other one are that one's.
    pub publish: Vec<Publication>,
}

/// A machine that is saved: one at a time, and nobody else has it go on meanwhile.
struct Subject<'a> {
    listed: &'a Listed,
    client: Client,
    /// It stood still before.
    was_paused: bool,
    _turn: File,
}

impl MicroVms {
    /// Takes a snapshot of a microVM that runs, which goes on; of one that is paused, which stays so.
    ///
    /// # Errors
    /// If it does not run, cannot be saved, or the name is taken.
    pub fn snapshot(&self, name: &VmName, snapshot: &str) -> Result<VmTaken, VmError> {
        let snapshots = self.snapshots();
        let draft = snapshots.begin(snapshot)?;
        let listed = self.running(name)?;
        let subject = self.subject(&listed)?;
        let (disks, stood_still) = subject.save(&draft)?;
        let record = listed.record;
        let spec = VmSpec {
            networks: networks_of(&record.spec, &listed.state.networks),
            ..record.spec
        };
        snapshots.publish(draft, (record.name, spec), disks)?;
        Ok(VmTaken { stood_still })
    }

    /// Writes a microVM with its memory to disk, and ends its machine. [`MicroVms::take`] takes it up again.
    ///
    /// # Errors
    /// If it does not run, or cannot be saved; it goes on then.
    pub fn suspend(&self, name: &VmName) -> Result<(), VmError> {
        let listed = self.running(name)?;
        let subject = self.subject(&listed)?;
        let directory = self.shelf().directory(name);
        let files = directory.suspended();
        let save = || {
            let made = remove_tree(&files).and_then(|()| fs::create_dir(&files));
            made.map_err(io_error("make", &files))?;
            subject.stand_still()?;
            let create = create(&files, false)?;
            let created = subject.client.create_snapshot(&create);
            created.map_err(subject.refused())?;
            let networks = networks_of(&listed.record.spec, &listed.state.networks);
            let past = Past::of_suspended(&directory, &listed.record.spec, networks);
            past.map_err(io_error("read the disks of", directory.path()))?
                .write(&directory)
        };
        if let Err(error) = save() {
            let _ = saved::discard(&directory);
            subject.go_on();
            return Err(error);
        }
        if let Some(vmm) = listed.state.vmm {
            // It writes down what it counted.
            vmm.signal(Signal::INT);
        }
        self.wait_released(name)
    }

    /// Makes a microVM that this process owns, and that goes on from a snapshot: with copies of the disks that its guest writes.
    ///
    /// # Errors
    /// If there is no such snapshot, what belongs to it is not as it was, or it cannot be as `changes` has it.
    pub fn make_from(&self, snapshot: &str, changes: VmChanges) -> Result<Owned, VmError> {
        let snapshots = self.snapshots();
        let manifest = snapshots.manifest(snapshot)?;
        let VmChanges {
            name,
            auto_remove,
            networks,
            publish,
        } = changes;
        let mut spec = manifest.spec.clone();
        repoint(&mut spec.networks, &networks)?;
        if !publish.is_empty() && !spec.networks.iter().any(NetSpec::can_publish) {
            return Err(SpecError::Publish.into());
        }
        spec.publish = publish;
        let at = |path: &Path| {
            for (index, saved) in manifest.disks.iter().enumerate() {
                if let (SavedDisk::Copy(_), Some(disk)) = (saved, spec.disks.get_mut(index)) {
                    disk.path = disk_file(path, index);
                }
            }
            spec
        };
        let (held, record) = self.shelf().make(name, at, auto_remove)?;
        let directory = held.directory().clone();
        let unpacked = snapshots.unpack((snapshot, &manifest), &record.spec, directory.path());
        let made = unpacked.and_then(|past| {
            past.write(&directory)?;
            Ok(past)
        });
        match made {
            Ok(past) => Ok(Owned::new(self.shelf().clone(), held, record, Some(past))),
            Err(error) => {
                self.shelf().remove(held, &record.name)?;
                Err(error)
            }
        }
    }

    /// What is at the other ends of a fork's interfaces, unless somebody says otherwise: nothing, for its guest has the addresses of the one that
    /// is forked. Behind passt nobody sees those.
    ///
    /// # Errors
    /// If there is none of the name.
    pub fn nets_of_fork(&self, name: &VmName) -> Result<Vec<NetTarget>, VmError> {
        let networks = self.get(name)?.record.spec.networks;
        let real = networks.into_iter().filter(|net| net.to != NetTarget::None);
        let ends = real.map(|net| match net.to {
            NetTarget::User => NetTarget::User,
            _ => NetTarget::Unplugged,
        });
        Ok(ends.collect())
    }

    fn running(&self, name: &VmName) -> Result<Listed, VmError> {
        let listed = self.get(name)?;
        match listed.state.status {
            VmStatus::Running => Ok(listed),
            _ => Err(VmError::NotRunning(name.clone())),
        }
    }

    fn subject<'a>(&self, listed: &'a Listed) -> Result<Subject<'a>, VmError> {
        let turn = self.shelf().turn(&listed.record.name)?;
        let subject = Subject {
            listed,
            client: self.client(&listed.record.name).with_time(PATIENCE),
            was_paused: self.is_paused(listed),
            _turn: turn,
        };
        subject.check_drives()?;
        Ok(subject)
    }
}

impl Subject<'_> {
    fn name(&self) -> &VmName {
        &self.listed.record.name
    }

    fn refused(&self) -> impl Fn(ClientError) -> VmError + use<> {
        let name = self.name().clone();
        move |source| VmError::Api {
            name: name.clone(),
            source,
        }
    }

    /// Whether its disks are those that it was started with: others are only known to whoever gave them to its API.
    fn check_drives(&self) -> Result<(), VmError> {
        let config = self.client.config().map_err(self.refused())?;
        let is_own = |(index, drive): (usize, &hull_vm_api::config::Drive)| {
            drive.path_on_host == Some(HostPath::fd(&format!("disk{index}")))
        };
        let other = config.drives.iter().enumerate().find(|one| !is_own(*one));
        match other {
            Some((_, drive)) => Err(VmError::OtherDisk {
                name: self.name().clone(),
                drive: drive.drive_id.clone(),
            }),
            None => Ok(()),
        }
    }

    fn stand_still(&self) -> Result<(), VmError> {
        let stands = self.client.pause_and_settle();
        stands.map_err(self.refused())
    }

    /// As it was before.
    fn go_on(&self) {
        if !self.was_paused {
            // One that is gone will not.
            let _ = self.client.resume();
        }
    }

    /// Saves it into a directory; its disks, and how long its guest stood still.
    fn save(&self, draft: &Draft) -> Result<(Vec<SavedDisk>, Duration), VmError> {
        let create = create(draft.path(), !self.was_paused)?;
        let began = Instant::now();
        let copied = self
            .stand_still()
            .and_then(|()| self.copy_disks(draft.path()));
        let saved = copied.and_then(|disks| {
            let stood_still = self.write(&create, began).map_err(self.refused())?;
            Ok((disks, stood_still))
        });
        if saved.is_err() {
            self.go_on();
        }
        saved
    }

    /// Has the machine written; until when it stood still.
    fn write(&self, create: &SnapshotCreate, began: Instant) -> Result<Duration, ClientError> {
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| self.client.create_snapshot(create));
            let mut stood_still = None;
            while create.resume_vm && stood_still.is_none() && !writing.is_finished() {
                // It is answered when the machine has been copied and goes on.
                let answer = self.client.instance();
                if answer.is_ok_and(|instance| instance.state == Stage::Running) {
                    stood_still = Some(began.elapsed());
                }
            }
            let written = writing.join();
            written.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(stood_still.unwrap_or_else(|| began.elapsed()))
        })
    }

    /// Copies what its guest writes, and notes how the rest is.
    fn copy_disks(&self, into: &Path) -> Result<Vec<SavedDisk>, VmError> {
        let mut saved = Vec::new();
        for (index, disk) in self.listed.record.spec.disks.iter().enumerate() {
            let path = &disk.path;
            let file = File::open(path).map_err(io_error("open", path))?;
            if disk.read_only {
                let known = Known::of(&file).map_err(io_error("read", path))?;
                saved.push(SavedDisk::Path(known));
                continue;
            }
            let kind = file.metadata().map_err(io_error("read", path))?.file_type();
            if kind.is_block_device() {
                return Err(VmError::DeviceDisk(path.clone()));
            }
            // Its machine has the lock of the file that it writes to.
            let lock = FlockOperation::NonBlockingLockShared;
            if flock(file.as_fd(), lock).is_ok() {
                return Err(VmError::OtherFile {
                    name: self.name().clone(),
                    disk: path.clone(),
                });
            }
            let to = disk_file(into, index);
            let copy = || {
                disk::copy_open(&file, &to)?;
                let copy = File::open(&to)?;
                copy.sync_all()?;
                Known::of(&copy)
            };
            match copy().map_err(io_error("copy a disk to", &to))? {
                Known::File(seal) => saved.push(SavedDisk::Copy(seal)),
                device @ Known::Device { .. } => saved.push(SavedDisk::Path(device)),
            }
        }
        Ok(saved)
    }
}

fn create(directory: &Path, go_on: bool) -> Result<SnapshotCreate, VmError> {
    let path = |name| HostPath::try_from(directory.join(name).as_path());
    let no_text = |error| VmError::Spec(SpecError::NotUtf8(error));
    Ok(SnapshotCreate {
        snapshot_type: SnapshotType::Full,
        resume_vm: go_on,
        snapshot_path: path(STATE).map_err(no_text)?,
        mem_file_path: path(MEMORY).map_err(no_text)?,
    })
}

/// The interfaces of a machine that runs, with the addresses that its guest has, and so will have.
fn networks_of(spec: &VmSpec, now: &[super::VmNet]) -> Vec<NetSpec> {
    let mut now = now.iter();
    let mut networks = spec.networks.clone();
    for net in networks.iter_mut().filter(|net| net.to != NetTarget::None) {
        if let (Some(now), NetTarget::Network(_)) = (now.next(), &net.to) {
            net.mac = now.mac.or(net.mac);
            net.addresses = now.addresses.iter().map(ipnet::IpNet::addr).collect();
        }
    }
    networks
}

/// Gives interfaces other ends, one after the other.
fn repoint(own: &mut [NetSpec], others: &[NetSpec]) -> Result<(), VmError> {
    let refuse = |why: String| Err(SpecError::OtherNet(why).into());
    if others.is_empty() {
        return Ok(());
    }
    let mut real: Vec<_> = own
        .iter_mut()
        .filter(|net| net.to != NetTarget::None)
        .collect();
    if real.len() != others.len() {
        return refuse(format!(
            "it has {} interfaces, and --net is there {} times",
            real.len(),
            others.len()
        ));
    }
    for (net, other) in real.iter_mut().zip(others) {
        if *other != NetSpec::new(other.to.clone()) {
            return refuse(
                "its guest has its addresses already: ip=, mac=, mtu= and queues= cannot be said anew".to_owned(),
            );
        }
        let goes = match (&net.to, &other.to) {
            (NetTarget::User, NetTarget::User) => true,
            (NetTarget::User, _) | (_, NetTarget::None | NetTarget::User) => false,
            (NetTarget::Network(own), NetTarget::Network(other)) => own == other,
            (_, NetTarget::Network(_)) => false,
            (_, NetTarget::Tap(_) | NetTarget::Unplugged) => true,
        };
        if !goes {
            return refuse(format!(
                "an interface at {} cannot become one at {}: it can go to tap=NAME or be unplugged, stay in the network that it was in, and user stays \
                 user",
                net.to, other.to
            ));
        }
        net.to = other.to.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<NetSpec> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_interface_can_be_put_elsewhere_where_its_guest_s_addresses_do_no_harm() {
        let had = [
            "talk,ip=10.1.0.2,mac=02:00:00:00:00:07",
            "none",
            "user",
            "tap=t0,queues=2",
        ];
        let changed = |others: &[&str]| {
            let mut own = nets(&had);
            repoint(&mut own, &nets(others)).map(|()| own)
        };
        assert_eq!(changed(&[]).unwrap(), nets(&had));
        let own = changed(&["tap=t1", "user", "unplugged"]).unwrap();
        assert_eq!(own[0].to, NetTarget::Tap("t1".to_owned()));
        assert_eq!(own[0].mac, nets(&had)[0].mac, "its guest has it");
        assert_eq!((&own[3].to, own[3].queues), (&NetTarget::Unplugged, 2));
        assert!(changed(&["talk", "user", "tap=t0"]).is_ok());
        for (others, why) in [
            (&["tap=t1"][..], "3 interfaces"),
            (&["other", "user", "tap=t0"], "cannot become one at other"),
            (&["tap=t1", "tap=t2", "tap=t0"], "user stays user"),
            (&["tap=t1", "user", "user"], "cannot become"),
            (&["tap=t1,mac=02:00:00:00:00:08", "user", "tap=t0"], "mac="),
        ] {
            let said = changed(others).unwrap_err().to_string();
            assert!(said.contains(why), "{others:?}: {said}");
        }
    }
}
