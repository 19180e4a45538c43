//! Many clones of one template on one host, all alive at once.

use hull_engine::{Paths, Programs};
use hull_tests::herd::{Breed, Group, Herd};
use hull_tests::{Home, kvm, programs};

/// Starts so many, and ends them.
fn all_at_once(count: usize) {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let paths = Paths::new(home.root(), home.runtime());
    let parts = Programs {
        vmm: programs().join("hull-vmm"),
        kernel: programs().join("../guest/vmlinux"),
        initramfs: programs().join("../guest/initramfs.cpio"),
    };
    let breed = Breed {
        image: "busybox".to_owned(),
        memory: Some(64 << 20),
    };
    let group = Group::enter();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut herd = Herd::start(paths, parts, &breed, count).await.unwrap();
        assert_eq!(herd.identities().count(), count);
        herd.check_distinct().unwrap();
        herd.ask().await.unwrap();
        assert_eq!(home.machines().len(), count);
        let memory = herd.memory().unwrap();
        println!(
            "{count} clones after {:?}; Hull's own work for each: {:?}; memory of each: {} KiB",
            herd.took,
            herd.cost.own(),
            memory.each()
        );
        if let Some(group) = &group {
            println!("in all, as their control group counts: {:?}", group.usage());
        }
        herd.end().await.unwrap();
    });
    drop(runtime);
    home.assert_clean();
}

#[test]
fn two_dozen_clones_are_alive_at_once_and_none_is_like_another() {
    all_at_once(24);
}

#[test]
#[ignore = "takes a quarter of an hour and 10 GiB where guest kernels are emulated"]
fn a_thousand_clones_are_alive_at_once_and_none_is_like_another() {
    all_at_once(1000);
}
