use super::*;

fn native() -> HostProfile {
    HostProfile {
        backend: Backend::VtX,
        kernel_instructions_per_second: 3_000_000_000,
        user_instructions_per_second: 3_000_000_000,
        instructions: BTreeMap::from([
            (Instruction::Popcnt, Finding::Works),
            (Instruction::Vpxor, Finding::Absent),
        ]),
        syscall: SyscallEntry::Kernel,
        cpuid_can_hide: true,
        costs: Costs::default(),
        max_vcpus: 1024,
    }
}

fn emulated(failing: &[Instruction]) -> HostProfile {
    HostProfile {
        backend: Backend::Emulated,
        instructions: failing.iter().map(|each| (*each, Finding::Fails)).collect(),
        ..native()
    }
}

#[test]
fn nothing_is_needed_where_the_processor_runs_the_kernel() {
    assert_eq!(native().kernel_args(), "");
}

#[test]
fn every_failure_hides_its_feature_once() {
    use Instruction::{
        Andn, Clac, Cmpxchg16b, Popcnt, Rorx, Stac, Vpxor, Vzeroupper, Xrstor, Xsave,
    };
    let failing = [
        Popcnt, Cmpxchg16b, Xsave, Xrstor, Vzeroupper, Vpxor, Andn, Rorx, Clac, Stac,
    ];
    let mut profile = emulated(&failing);
    let hidden = "nokernelfpu clearcpuid=popcnt,cx16,pku,bmi1,bmi2,smap,erms,fsrm,smep,umip,pcid";
    assert_eq!(
        profile.kernel_args(),
        format!("mitigations=off rodata=off tick_stride=5 nokaslr {hidden}")
    );
    profile.syscall = SyscallEntry::StaysUser;
    assert_eq!(
        profile.kernel_args(),
        format!("mitigations=off rodata=off tick_stride=5 {hidden}")
    );
}

#[test]
fn a_single_failure_on_a_processor_hides_only_that() {
    let mut profile = native();
    let mut fail = |instruction| {
        profile.instructions.insert(instruction, Finding::Fails);
        profile.kernel_args()
    };
    assert_eq!(fail(Instruction::Movbe), "clearcpuid=movbe");
    assert_eq!(fail(Instruction::Vpxor), "nokernelfpu clearcpuid=movbe");
    assert_eq!(fail(Instruction::Xsave), "nokernelfpu clearcpuid=pku,movbe");
    assert_eq!(
        fail(Instruction::Xsetbv),
        "nokernelfpu clearcpuid=xsave,movbe"
    );
}

#[test]
fn the_longest_list_of_features_is_one_that_linux_reads() {
    let all: Vec<Instruction> = FEATURES
        .iter()
        .map(|(instruction, _)| *instruction)
        .collect();
    let features = emulated(&all).hidden_features().join(",");
    // cpu_parse_early_param() of arch/x86/kernel/cpu/common.c has a buffer of 128 bytes.
    assert!(features.len() < 128, "{features}");
}

#[test]
fn the_json_has_the_arguments_and_reads_back() {
    let profile = emulated(&[Instruction::Cmpxchg16b]);
    let json = profile.to_json();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["kernel_args"], profile.kernel_args());
    assert_eq!(value["instructions"]["cmpxchg16b"], "fails");
    assert_eq!(serde_json::from_str::<HostProfile>(&json).unwrap(), profile);
}
