use super::*;

fn interface(device: u32, name: &str, last: u8) -> Interface {
    Interface {
        device,
        name: name.into(),
        mac: [2, 0, 0, 0, 0, last],
        mtu: 1500,
        addresses: vec![Address {
            ip: [10, 0, 0, last].into(),
            prefix: 24,
        }],
        gateways: Vec::new(),
    }
}

fn present(index: u32, interface: &Interface) -> Vec<(u32, Address)> {
    interface
        .addresses
        .iter()
        .map(|one| (index, *one))
        .collect()
}

#[test]
fn a_new_interface_is_set_up_and_gets_its_addresses_and_its_gateway() {
    let mut wanted = interface(0, "eth0", 2);
    wanted.gateways = vec![[10, 0, 0, 1].into()];
    wanted.addresses.push(Address {
        ip: "fd00::2".parse().unwrap(),
        prefix: 64,
    });
    let batch = plan(&[Link::example(2, "eth0", false)], &[], &[], &[wanted]).unwrap();
    let expected = [
        "set up eth0",
        "give eth0 the address 10.0.0.2/24",
        "give eth0 the address fd00::2/64",
        "give eth0 the address fe80::ff:fe00:2/64",
        "set the default gateway 10.0.0.1 of eth0",
    ];
    assert_eq!(batch.asked(), expected);
}

#[test]
fn what_stays_is_not_touched_and_what_is_not_named_goes() {
    let (first, second) = (interface(0, "eth0", 2), interface(1, "eth1", 3));
    let links = [
        Link::example(2, "eth0", true),
        Link::example(3, "eth1", true),
    ];
    let before = [first.clone(), second.clone()];
    let mut all = present(2, &first);
    all.extend(present(3, &second));
    let batch = plan(&links, &all, &before, &[first]).unwrap();
    assert_eq!(
        batch.asked(),
        ["take eth1 down", "remove the address 10.0.0.3"]
    );
    assert!(
        plan(&links, &all, &before, &before)
            .unwrap()
            .asked()
            .is_empty()
    );
}

#[test]
fn a_gateway_moves_from_one_interface_to_another() {
    let (mut first, mut second) = (interface(0, "eth0", 2), interface(1, "eth1", 3));
    first.gateways = vec![[10, 0, 0, 1].into()];
    let links = [
        Link::example(2, "eth0", true),
        Link::example(3, "eth1", true),
    ];
    let before = [first.clone(), second.clone()];
    let mut all = present(2, &first);
    all.extend(present(3, &second));
    std::mem::swap(&mut first.gateways, &mut second.gateways);
    let batch = plan(&links, &all, &before, &[first, second]).unwrap();
    let expected = [
        "remove the gateway 10.0.0.1",
        "set up eth0",
        "set up eth1",
        "set the default gateway 10.0.0.1 of eth1",
    ];
    assert_eq!(batch.asked(), expected);
}

#[test]
fn names_are_exchanged() {
    let links = [
        Link::example(2, "eth0", false),
        Link::example(3, "eth1", false),
    ];
    let wanted = [interface(0, "eth1", 2), interface(1, "eth0", 3)];
    let batch = plan(&links, &[], &[], &wanted).unwrap();
    let asked = batch.asked();
    assert_eq!(
        asked[..3],
        ["rename eth0", "rename eth1", "set up eth1"],
        "{asked:?}"
    );
}

#[test]
fn nonsense_is_refused_with_the_reason() {
    let refused = |wanted: &[Interface]| check(wanted).unwrap_err().message;
    let good = interface(0, "eth0", 2);
    assert!(check(std::slice::from_ref(&good)).is_ok());
    assert!(refused(&[good.clone(), interface(1, "eth0", 3)]).contains("twice"));
    assert!(refused(&[good.clone(), interface(0, "eth1", 3)]).contains("twice"));
    for bad in ["", "lo", "..", "a/b", "a b", "sixteen-letters-", "eth0:1"] {
        assert!(
            refused(&[interface(0, bad, 2)]).contains("no name"),
            "{bad}"
        );
    }
    let mut wrong = good.clone();
    wrong.addresses[0].prefix = 33;
    assert!(refused(&[wrong]).contains("10.0.0.2/33"));
    let mut two = good.clone();
    two.gateways = vec![[10, 0, 0, 1].into(), [10, 0, 0, 9].into()];
    assert!(refused(&[two]).contains("gateway"));
    let error = plan(&[], &[], &[], &[good]).unwrap_err();
    assert!(error.message.contains("the machine has 0"), "{error}");
}

#[test]
fn broadcast_addresses_are_the_last_of_their_subnet() {
    assert_eq!(broadcast([172, 17, 0, 2].into(), 16), [172, 17, 255, 255]);
    assert_eq!(broadcast([10, 0, 0, 2].into(), 32), [10, 0, 0, 2]);
    assert_eq!(broadcast([10, 0, 0, 2].into(), 0), [255; 4]);
}
