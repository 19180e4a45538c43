//! What the guest's processors look like, as the guest itself sees them: CPUID and model-specific registers read by its own
//! instructions and printed.

mod common;

use std::fs;

use common::guest::Code;
use common::{Configured, Vm, no_kvm};
use hull_vm_api::ExitCause;
use hull_vm_api::config::{BootSource, CpuConfig, CpuTemplate, HostPath, MachineUpdate};
use serde_json::{Value, json};

/// Prints EAX as eight hexadecimal digits and the end of the line. Changes EAX, ECX and EDX.
fn print_eax(code: Code) -> Code {
    let code = code.bytes(&[0x41, 0x89, 0xc0]); // mov r8d, eax
    let digit = |code: Code, shift: u8| {
        code.bytes(&[0x44, 0x89, 0xc0]) // mov eax, r8d
            .bytes(&[0xc1, 0xe8, shift]) // shr eax, shift
            .bytes(&[0x24, 0x0f]) // and al, 15
            .bytes(&[0x3c, 0x0a]) // cmp al, 10
            .bytes(&[0x72, 0x02]) // jb to the addition of '0'
            .bytes(&[0x04, 0x27]) // add al, 'a' - 10 - '0'
            .bytes(&[0x04, 0x30]) // add al, '0'
            .bytes(&[0x66, 0xba, 0xf8, 0x03, 0xee]) // mov dx, 0x3f8; out dx, al
    };
    let code = [28, 24, 20, 16, 12, 8, 4, 0].into_iter().fold(code, digit);
    code.print("\n")
}

/// Prints a register after CPUID: 0 to 3 for EAX, EBX, ECX, EDX.
fn cpuid(code: Code, leaf: u32, subleaf: u32, register: usize) -> Code {
    // mov eax, leaf; mov ecx, subleaf; cpuid; and then one of nop, mov eax, ebx/ecx/edx.
    let moves: [&[u8]; 4] = [&[0x90], &[0x89, 0xd8], &[0x89, 0xc8], &[0x89, 0xd0]];
    let code = code
        .bytes(&[0xb8])
        .bytes(&leaf.to_le_bytes())
        .bytes(&[0xb9])
        .bytes(&subleaf.to_le_bytes())
        .bytes(&[0x0f, 0xa2])
        .bytes(moves[register]);
    print_eax(code)
}

/// Prints the lower half of a model-specific register.
fn rdmsr(code: Code, number: u32) -> Code {
    let code = code.bytes(&[0xb9]).bytes(&number.to_le_bytes());
    print_eax(code.bytes(&[0x0f, 0x32]))
}

/// What a guest prints that was configured so.
fn printed(vm: &Vm) -> Vec<u32> {
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    numbers(&ended.stdout)
}

fn numbers(text: &str) -> Vec<u32> {
    let numbers = text.lines().map(|line| u32::from_str_radix(line, 16));
    numbers.map(|number| number.expect(text)).collect()
}

/// `IA32_MISC_ENABLE`, which every KVM has.
const MISC_ENABLE: u32 = 0x1a0;

fn intel() -> bool {
    std::arch::x86_64::__cpuid(0).ebx == u32::from_le_bytes(*b"Genu")
}

/// The leaf about caches, which has subleaves. Where KVM has no VT-x it cannot change those about features.
fn cache_leaf() -> u32 {
    if intel() { 4 } else { 0x8000_001d }
}

/// Prints what the templates below change: PREFETCHW and what is beside it, the size of a cache, the name, and a register.
fn observer() -> Vec<u8> {
    let code = cpuid(Code::new(), 0x8000_0001, 0, 2);
    let code = cpuid(code, cache_leaf(), 0, 1);
    let code = cpuid(code, 0x8000_0002, 0, 0);
    rdmsr(code, MISC_ENABLE).power_off()
}

/// Hides PREFETCHW (bit 8) and LZCNT (bit 5), makes the lines of a cache an odd size, names the processor "Hull", clears fast strings and sets
/// "limit CPUID" (bit 22, which KVM keeps but does not obey).
fn template() -> Value {
    json!({
        "kvm_capabilities": ["0", "!56"],
        "cpuid_modifiers": [
            { "leaf": "0x80000001", "subleaf": "0x0", "flags": 0, "modifiers": [
                { "register": "ecx", "bitmap": "0b0xx0xxxxx" } ] },
            { "leaf": cache_leaf().to_string(), "subleaf": "0x0", "flags": 1, "modifiers": [
                { "register": "ebx", "bitmap": "0b10_1xx0" } ] },
            { "leaf": "0x80000002", "subleaf": "0x0", "flags": 0, "modifiers": [
                { "register": "eax", "bitmap": format!("0b{:032b}", u32::from_le_bytes(*b"Hull")) } ] },
        ],
        "msr_modifiers": [{ "addr": "0x1a0", "bitmap": "0b1xx_xxxx_xxxx_xxxx_xxxx_xxx0" }],
    })
}

/// Compares what was printed with and without the template.
fn check(without: &[u32], with: &[u32]) {
    let [extended, cache, _, misc] = without[..] else {
        panic!("{without:x?}");
    };
    assert_ne!(misc & 1, 0, "fast strings are on by default");
    let expected = [
        extended & !(1 << 8 | 1 << 5),
        cache & !0b11_1001 | 0b10_1000,
        u32::from_le_bytes(*b"Hull"),
        misc & !1 | 1 << 22,
    ];
    assert_eq!(with, expected, "{without:x?}");
    assert_ne!(with, without);
}

#[test]
fn the_guest_sees_what_cpu_config_leaves_it() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&observer()).serial();
    let without = printed(&vm);
    let vm = vm.set("/cpu-config", template());
    check(&without, &printed(&vm));
    let file = vm.path("template.json");
    fs::write(&file, template().to_string()).unwrap();
    let vm = vm.set("/cpu-config", json!(file));
    check(&without, &printed(&vm));

    // By the API, before the start only.
    let (running, client) = vm.serve(Configured::ByApi);
    let config = CpuConfig::parse(template().to_string().as_bytes()).unwrap();
    client.put_cpu_config(&config).unwrap();
    let serial = hull_vm_api::config::Serial {
        serial_out_path: Some("/dev/stdout".into()),
        ..Default::default()
    };
    client.put_serial(&serial).unwrap();
    let kernel = HostPath::try_from(vm.path("kernel").as_path()).unwrap();
    let source = BootSource {
        kernel_image_path: kernel,
        initrd_path: None,
        boot_args: None,
    };
    client.put_boot_source(&source).unwrap();
    client.start().unwrap();
    check(&without, &numbers(&running.end().stdout));
}

#[test]
fn changes_that_this_host_cannot_make_are_refused() {
    if no_kvm() {
        return;
    }
    let leaf = |leaf: &str, flags: u32, register: &str, bitmap: &str| {
        json!({ "cpuid_modifiers": [{ "leaf": leaf, "subleaf": "0x0", "flags": flags,
            "modifiers": [{ "register": register, "bitmap": bitmap }] }] })
    };
    let bits = "x".repeat(32);
    let cases = [
        (
            leaf("0x12345", 0, "eax", "0b1"),
            "subleaf 0x0 of CPUID leaf 0x12345",
        ),
        (leaf("0x7", 0, "ebx", "0b1"), "this host's KVM has 1 for it"),
        (
            leaf("0x1", 0, "ebx", &format!("0b11111{}", &bits[..24])),
            "the bits 0x1f000000 of Ebx",
        ),
        (
            json!({ "msr_modifiers": [{ "addr": "0xdeadbeef", "bitmap": "0b1" }] }),
            "register 0xdeadbeef, which this host's KVM does not have",
        ),
        (
            // A bit of EFER that no processor has.
            json!({ "msr_modifiers": [{ "addr": "0xc0000080", "bitmap": format!("0b1{}", "x".repeat(62)) }] }),
            "change only bits that it lets one change",
        ),
        (
            json!({ "kvm_capabilities": ["4000000000"] }),
            "KVM's capability 4000000000",
        ),
        (leaf("0x7", 9, "ebx", "0b1"), "flags is 9"),
        (
            json!({ "reg_modifiers": [] }),
            "unknown field `reg_modifiers`",
        ),
    ];
    for (config, word) in cases {
        let vm = Vm::of(&Code::new().power_off()).set("/cpu-config", config);
        let ended = vm.run();
        let sentence = ended.sentence();
        assert!(sentence.contains(word), "{sentence}");
        assert_ne!(ended.cause(), ExitCause::PowerOff);
    }
    let vm = Vm::of(&Code::new().power_off()).set("/cpu-config", json!("/no/such/template"));
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::BadConfig);
    assert!(sentence.contains("/no/such/template"), "{sentence}");
}

#[test]
fn templates_by_name_are_for_some_processors() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&observer()).serial();
    let other = if intel() { "T2A" } else { "T2CL" };
    let other = vm.set("/machine-config/cpu_template", json!(other));
    let ended = other.run();
    let sentence = ended.refusal(ExitCause::BadConfig);
    assert!(sentence.contains("and this one is of"), "{sentence}");

    let vm = other.set("/machine-config/cpu_template", json!("None"));
    let without = printed(&vm);
    let own = if intel() { "T2" } else { "T2A" };
    let vm = vm.set("/machine-config/cpu_template", json!(own));
    let ended = vm.run();
    // Which it is depends on the processor that the test runs on.
    if ended.cause() == ExitCause::PowerOff {
        let with = numbers(&ended.stdout);
        assert_eq!(with[0], without[0] & !(1 << 8 | 1 << 29));
    } else {
        let sentence = ended.refusal(ExitCause::BadConfig);
        assert!(
            sentence.contains("this processor is another one"),
            "{sentence}"
        );
    }
    let vm = vm.set("/cpu-config", template());
    let ended = vm.run();
    let sentence = ended.refusal(ExitCause::BadConfig);
    assert!(sentence.contains("only one can say"), "{sentence}");
}

#[test]
fn what_was_said_last_about_the_processors_counts() {
    let vm = Vm::empty();
    let (_running, client) = vm.serve(Configured::ByApi);
    let named = |template| MachineUpdate {
        cpu_template: Some(template),
        ..MachineUpdate::default()
    };
    let config = CpuConfig::parse(template().to_string().as_bytes()).unwrap();
    let now = || {
        let config = client.config().unwrap();
        (
            config.machine_config.cpu_template,
            config.cpu_config.is_some(),
        )
    };
    client
        .patch_machine_config(&named(CpuTemplate::T2))
        .unwrap();
    assert_eq!(now(), (CpuTemplate::T2, false));
    client.put_cpu_config(&config).unwrap();
    assert_eq!(now(), (CpuTemplate::None, true));
    client
        .patch_machine_config(&named(CpuTemplate::T2))
        .unwrap();
    assert_eq!(now(), (CpuTemplate::T2, false));
}

/// Leaves 4 and 0xb of the first vCPU.
#[test]
fn the_guest_sees_the_topology_that_was_asked_for() {
    if no_kvm() {
        return;
    }
    let code = cpuid(Code::new(), 1, 0, 1);
    let code = cpuid(code, 0xb, 0, 1); // threads of a core
    let code = cpuid(code, 0xb, 0, 0); // bits of the thread's number
    let code = cpuid(code, 0xb, 1, 1); // threads of the package
    let code = cpuid(code, 0xb, 1, 0); // bits of both
    let code = cpuid(code, 4, 0, 0).power_off(); // first level cache
    for (vcpus, smt, threads, bits) in [
        (1, false, 1, 0),
        (8, false, 1, 3),
        (8, true, 2, 3),
        (32, true, 2, 5),
    ] {
        let vm = Vm::of(&code)
            .serial()
            .set("/machine-config/vcpu_count", json!(vcpus))
            .set("/machine-config/smt", json!(smt));
        let seen = printed(&vm);
        let [count, of_core, thread_bits, of_package, package_bits, cache] = seen[..] else {
            panic!("{seen:x?}");
        };
        assert_eq!(count >> 16 & 0xff, 1 << bits, "{seen:x?}");
        assert_eq!(count >> 24, 0, "the first vCPU has number 0: {seen:x?}");
        assert_eq!(
            (of_core & 0xffff, thread_bits),
            (threads, threads - 1),
            "{seen:x?}"
        );
        assert_eq!(
            (of_package & 0xffff, package_bits),
            (vcpus, bits),
            "{seen:x?}"
        );
        if intel() {
            // Threads that share the cache, and cores of the package, both less one.
            assert_eq!(cache >> 14 & 0xfff, threads - 1, "{seen:x?}");
            assert_eq!(cache >> 26, (1 << (bits - thread_bits)) - 1, "{seen:x?}");
        }
    }
}
