use proptest::prelude::*;

use super::*;

const HOST: Capacity = Capacity {
    cpus: 4,
    memory_mib: 8192,
    fast: true,
};

#[test]
fn sizes_are_read_as_docker_reads_them() {
    for (text, bytes) in [
        ("6291456", 6 * MIB),
        ("6m", 6 * MIB),
        ("1g", 1024 * MIB),
        ("1.5GiB", 1536 * MIB),
        ("0.5k", 512),
        ("12 mb", 12 * MIB),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "m",
        "much",
        "-1m",
        "1x",
        "1.2.3m",
        "99999999999999999999",
        "99999999t",
    ] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}

#[test]
fn fractions_of_a_cpu_become_a_quota() {
    let shape = |text| Shape::fit(None, Some(parse_cpus(text).unwrap()), HOST);
    let of = |text| shape(text).map(|shape| (shape.cpus, shape.cpu_quota_us));
    assert_eq!(of("2"), Ok((2, None)));
    assert_eq!(of("1.5"), Ok((2, Some(150_000))));
    assert_eq!(of(".01"), Ok((1, Some(1_000))));
    assert_eq!(of("0"), Ok((4, None)), "zero is no limit");
    for text in ["0.001", "4.01", "1000", "99999999"] {
        assert!(of(text).is_err(), "{text}");
    }
    assert!(parse_cpus("two").is_err());
}

#[test]
fn a_limit_is_the_container_s_and_the_machine_is_larger() {
    let fit = |bytes| Shape::fit(Some(bytes), None, HOST);
    let small = fit(6 * MIB).unwrap();
    assert_eq!(small.memory_limit, Some(6 * MIB));
    assert!(small.memory_mib >= 64, "what a guest needs to start");
    assert!(fit(6 * MIB - 1).unwrap_err().to_string().contains("6MB"));
    assert!(fit(8192 * MIB).is_ok());
    let error = fit(8193 * MIB).unwrap_err();
    assert_eq!(
        error,
        InvalidSize::MemoryTooLarge {
            asked: 8193,
            available: 8192
        }
    );
}

#[test]
fn machines_of_a_few_sizes_serve_all_limits() {
    let sizes = [6, 100, 128, 500, 511, 512, 600, 1000].map(|mib| {
        let shape = Shape::fit(Some(mib * MIB), None, HOST).unwrap();
        assert!(shape.memory_mib > mib && shape.memory_limit == Some(mib * MIB));
        shape.memory_mib
    });
    assert_eq!(sizes, [128, 128, 160, 640, 640, 640, 640, 1280]);
}

#[test]
fn a_limit_near_the_host_s_memory_makes_no_machine_larger_than_the_host() {
    for mib in [8000, 8100, 8191, 8192] {
        let shape = Shape::fit(Some(mib * MIB), None, HOST).unwrap();
        assert_eq!(shape.memory_limit, Some(mib * MIB));
        assert!((mib..=8192).contains(&shape.memory_mib), "{shape:?}");
    }
}

#[test]
fn a_machine_is_never_larger_than_a_microvm_can_be() {
    let most = MachineConfig::MAX_MEMORY_MIB;
    let host = Capacity {
        memory_mib: 4 * most,
        ..HOST
    };
    assert_eq!(Shape::fit(None, None, host).unwrap().memory_mib, most);
    let limited = Shape::fit(Some(most * MIB), None, host).unwrap();
    assert_eq!(limited.memory_mib, most);
    assert!(Shape::fit(Some((most + 1) * MIB), None, host).is_err());
}

#[test]
fn zero_is_no_limit() {
    let shape = Shape::fit(Some(0), Some(0), HOST).unwrap();
    assert_eq!(shape, Shape::fit(None, None, HOST).unwrap());
}

#[test]
fn without_options_a_fast_host_is_given_whole() {
    let shape = Shape::fit(None, None, HOST).unwrap();
    assert_eq!((shape.cpus, shape.memory_mib), (4, 8192));
    assert_eq!((shape.memory_limit, shape.cpu_quota_us), (None, None));
}

proptest! {
    #[test]
    fn no_text_is_read_as_more_than_it_says(text in "[0-9]{0,25}(\\.[0-9]{0,25})?[a-zA-Z ]{0,4}") {
        // Any answer will do that is no panic; a whole number of bytes is exact.
        let size = parse_size(&text);
        if let Ok(bytes) = text.parse::<u64>() {
            prop_assert_eq!(size, Ok(bytes));
        }
        let _ = parse_cpus(&text);
    }
}

#[test]
fn a_machine_that_runs_has_room_for_some_limits() {
    let machine = Shape {
        cpus: 2,
        memory_mib: 128,
        memory_limit: None,
        cpu_quota_us: None,
    };
    let limited = |memory: u64, nano_cpus: u64| machine.limited(Some(memory), Some(nano_cpus));
    let half = limited(64 << 20, 500_000_000).unwrap();
    assert_eq!(
        (half.memory_limit, half.cpu_quota_us),
        (Some(64 << 20), Some(50_000))
    );
    assert_eq!((half.cpus, half.memory_mib), (2, 128));
    // One of two is a limit, and both are none.
    assert_eq!(
        limited(0, 1_000_000_000).unwrap().cpu_quota_us,
        Some(100_000)
    );
    assert_eq!(limited(0, 2_000_000_000).unwrap(), machine);
    assert_eq!(
        limited(0, 2_100_000_000),
        Err(TooLarge::Cpus { machine: 2 })
    );
    assert_eq!(limited(1 << 40, 0), Err(TooLarge::Memory { machine: 128 }));
    // What it has it keeps, however it was cut.
    let tight = Shape {
        memory_limit: Some(128 << 20),
        ..machine
    };
    assert_eq!(tight.limited(Some(128 << 20), None), Ok(tight));
}
