//! Snapshots, over the API of real processes, with guests of a few instructions.

#[path = "../common/mod.rs"]
mod common;

mod devices;
mod diff;
mod faults;
mod full;
mod generation;
mod kills;
mod live;
mod names;
mod refusals;
mod working_set;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{Configured, Running, Vm, fifo};
use hull_vm_api::client::ClientError;
use hull_vm_api::config::{HostPath, Serial};
use hull_vm_api::request::{SnapshotCreate, SnapshotLoad, SnapshotType};
use hull_vm_api::{Client, ExitCause};

fn host(path: &Path) -> HostPath {
    HostPath::try_from(path).unwrap()
}

/// The two files of a snapshot.
#[derive(Debug, Clone)]
struct Pair {
    state: PathBuf,
    memory: PathBuf,
}

impl Pair {
    fn of(vm: &Vm, name: &str) -> Self {
        Self {
            state: vm.path(&format!("{name}.state")),
            memory: vm.path(&format!("{name}.memory")),
        }
    }

    fn create(&self, kind: SnapshotType) -> SnapshotCreate {
        SnapshotCreate {
            snapshot_type: kind,
            snapshot_path: host(&self.state),
            mem_file_path: host(&self.memory),
            resume_vm: false,
        }
    }

    fn load(&self) -> SnapshotLoad {
        SnapshotLoad {
            resume_vm: true,
            ..SnapshotLoad::new(host(&self.state), host(&self.memory))
        }
    }
}

/// Takes a full snapshot.
fn snapshot(client: &Client, vm: &Vm, name: &str) -> Pair {
    let pair = Pair::of(vm, name);
    client
        .create_snapshot(&pair.create(SnapshotType::Full))
        .unwrap();
    pair
}

/// A process that is to load a snapshot, with a serial port of its own if the machine has one.
struct Clone {
    vm: Vm,
    running: Running,
    client: Client,
    keys: File,
}

impl Clone {
    fn new(vm: Vm, serial: bool) -> Self {
        let keys = fifo(&vm, "keys");
        let (running, client) = vm.serve(Configured::ByApi);
        if serial {
            let serial = Serial {
                serial_out_path: Some("/dev/stdout".into()),
                serial_in_path: Some(host(&vm.path("keys"))),
                rate_limiter: None,
            };
            client.put_serial(&serial).unwrap();
        }
        Self {
            vm,
            running,
            client,
            keys,
        }
    }

    /// Of a machine with a serial port and no devices.
    fn load(load: &SnapshotLoad) -> Self {
        let clone = Self::new(Vm::empty(), true);
        clone.client.load_snapshot(load).unwrap();
        clone
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
    }

    fn power_off(self) {
        let ended = self.running.end();
        assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().to_string()
}
