use super::*;
use guest::{ANSWER, Outcome};
use hull_vm_api::profile::{Finding, Instruction, SyscallEntry};
use state::Level;

/// A micro-guest on this host, if it has KVM.
fn with_guest(test: impl FnOnce(&mut MicroGuest)) {
    let Ok(kvm) = kvm::open(&[]) else {
        println!("SKIPPED: no usable /dev/kvm");
        return;
    };
    let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    let (beat, _beats) = mpsc::channel();
    test(&mut MicroGuest::new(&kvm, &supported, beat).unwrap());
}

#[test]
fn a_program_runs_at_both_levels_and_answers() {
    with_guest(|guest| {
        // mov eax, cs; out
        let program = [[0x8c, 0xc8], ANSWER].concat();
        let at = |guest: &mut MicroGuest, level| guest.run(level, &program).unwrap();
        assert_eq!(at(guest, Level::Kernel), Outcome::Answer(0x10));
        assert_eq!(at(guest, Level::User), Outcome::Answer(0x33));
    });
}

#[test]
fn a_guest_that_faults_fails_and_the_next_one_runs() {
    with_guest(|guest| {
        // ud2, and a jump to where no memory is mapped.
        for program in [[0x0f, 0x0b].as_slice(), &[0xe9, 0, 0, 0, 0x70]] {
            let outcome = guest.run(Level::Kernel, program).unwrap();
            assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
            let next = guest.run(Level::Kernel, &ANSWER).unwrap();
            assert!(matches!(next, Outcome::Answer(_)), "{next:?}");
        }
    });
}

#[test]
fn a_guest_that_does_not_end_is_ended() {
    if kvm::open(&[]).is_err() {
        println!("SKIPPED: no usable /dev/kvm");
        return;
    }
    let (beat, beats) = mpsc::channel();
    let runner = thread::spawn(move || {
        let kvm = kvm::open(&[]).unwrap();
        let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        let mut guest = MicroGuest::new(&kvm, &supported, beat).unwrap();
        // jmp to itself
        let outcome = guest.run(Level::Kernel, &[0xeb, 0xfe]).unwrap();
        assert_eq!(outcome, Outcome::Failed("it does not end".to_owned()));
    });
    watch(&beats, &runner);
    runner.join().unwrap();
}

#[test]
fn the_profile_of_this_host_agrees_with_itself() {
    if kvm::open(&[]).is_err() {
        println!("SKIPPED: no usable /dev/kvm");
        return;
    }
    let profile = run().unwrap();
    println!("{}", profile.to_json());
    assert!(profile.kernel_instructions_per_second > 0);
    assert!(profile.user_instructions_per_second > 0);
    assert!(profile.costs.out_kernel.is_some());
    assert_eq!(profile.instructions.len(), 31);
    if profile.backend != Backend::Emulated {
        // A processor does what its manual says.
        let failing = profile
            .instructions
            .values()
            .filter(|each| **each == Finding::Fails);
        assert_eq!(failing.count(), 0, "{profile:?}");
        assert_eq!(profile.syscall, SyscallEntry::Kernel);
        assert_eq!(profile.kernel_args(), "");
    } else {
        assert!(profile.kernel_args().contains("clearcpuid="));
        assert!(!profile.fails(Instruction::Fxsave));
    }
}
