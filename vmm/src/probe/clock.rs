//! How fast guests run and what it costs to leave them, by counted loops against the host's clock.

use std::time::Duration;

use hull_vm_api::profile::Costs;

use super::ProbeError;
use super::guest::{ANSWER, MicroGuest, Outcome};
use super::state::Level;

/// Each is run so often; the fastest counts for speeds, the median for costs. Others have the host's CPUs, too.
const RUNS: usize = 5;
/// Rounds of two instructions: half a millisecond for the emulator.
const SHORT: u32 = 500;
/// A millisecond for a processor.
const LONG: u32 = 1_000_000;
/// An answer from a processor after [`SHORT`] rounds comes before this.
const SOON: Duration = Duration::from_micros(40);
/// Exits that are counted together.
const EXITS: u32 = 16;

/// Instructions in a second at CPL 0.
pub(super) fn kernel_speed(guest: &mut MicroGuest) -> Result<u64, ProbeError> {
    // Whether there can be a guest at all.
    if let Outcome::Failed(why) = guest.run(Level::Kernel, &ANSWER)? {
        return Err(ProbeError::NoGuest(why));
    }
    speed(guest, Level::Kernel)
}

/// Instructions in a second at CPL 3; 0 if nothing runs there.
pub(super) fn user_speed(guest: &mut MicroGuest) -> Result<u64, ProbeError> {
    speed(guest, Level::User)
}

fn speed(guest: &mut MicroGuest, level: Level) -> Result<u64, ProbeError> {
    let Some(empty) = fastest(guest, level, &ANSWER)? else {
        return Ok(0);
    };
    let mut rounds = SHORT;
    let mut time = fastest(guest, level, &count_down(rounds))?;
    if time.is_some_and(|time| time.saturating_sub(empty) < SOON) {
        rounds = LONG;
        time = fastest(guest, level, &count_down(rounds))?;
    }
    let Some(time) = time else {
        return Ok(0);
    };
    let nanos = time.saturating_sub(empty).as_nanos().max(1);
    let instructions = u128::from(rounds) * 2;
    Ok(u64::try_from(instructions * 1_000_000_000 / nanos).unwrap_or(u64::MAX))
}

/// What exits cost.
pub(super) fn costs(guest: &mut MicroGuest) -> Result<Costs, ProbeError> {
    Ok(Costs {
        out_kernel: out(guest, Level::Kernel)?,
        out_user: out(guest, Level::User)?,
        cpuid_kernel: cpuid(guest, Level::Kernel)?,
        cpuid_user: cpuid(guest, Level::User)?,
    })
}

/// One OUT: entering for it and coming back.
fn out(guest: &mut MicroGuest, level: Level) -> Result<Option<u64>, ProbeError> {
    // out; jmp to it
    let program = [0xe7, 0xf4, 0xeb, 0xfc];
    let count = usize::try_from(EXITS).unwrap_or(1);
    Ok(median(guest.time_answers(level, &program, count)?))
}

/// One CPUID, which KVM answers by itself.
fn cpuid(guest: &mut MicroGuest, level: Level) -> Result<Option<u64>, ProbeError> {
    // Each: xor eax, eax; xor ecx, ecx; cpuid.
    let body = [0x31, 0xc0, 0x31, 0xc9, 0x0f, 0xa2].repeat(usize::try_from(EXITS).unwrap_or(0));
    let program = [body.as_slice(), &ANSWER].concat();
    let (mut empty, mut full) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        empty.extend(guest.time(level, &ANSWER)?);
        full.extend(guest.time(level, &program)?);
    }
    let (Some(empty), Some(full)) = (median(empty), median(full)) else {
        return Ok(None);
    };
    Ok(Some(full.saturating_sub(empty) / u64::from(EXITS)))
}

fn fastest(
    guest: &mut MicroGuest,
    level: Level,
    program: &[u8],
) -> Result<Option<Duration>, ProbeError> {
    let mut best: Option<Duration> = None;
    for _ in 0..RUNS {
        if let Some(time) = guest.time(level, program)? {
            best = Some(best.map_or(time, |best| best.min(time)));
        }
    }
    Ok(best)
}

/// The time in the middle, in nanoseconds.
fn median(mut times: Vec<Duration>) -> Option<u64> {
    times.sort_unstable();
    let middle = times.get(times.len() / 2)?;
    u64::try_from(middle.as_nanos()).ok()
}

/// `mov edx, rounds; 1: dec edx; jnz 1b; out`: two instructions in each round.
fn count_down(rounds: u32) -> Vec<u8> {
    let mut program = vec![0xba];
    program.extend(rounds.to_le_bytes());
    program.extend([0xff, 0xca, 0x75, 0xfc]);
    program.extend(ANSWER);
    program
}
