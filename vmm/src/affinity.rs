//! Which CPUs of the host a vCPU's thread may run on.

use std::io;
use std::thread;

use hull_vm_api::config::MachineConfig;

/// Bits in a word of the host's mask.
const BITS: usize = 64;

/// A set of the host's CPUs, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuSet([u64; (MachineConfig::MAX_HOST_CPU as usize + 1) / BITS]);

/// A vCPU cannot be where it is to be.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    /// There is no such CPU, or it is out of this process's reach.
    #[error(
        "machine-config.cpu_affinity lists CPU {cpu} for vCPU {vcpu}, which this process cannot run on: there are {usable}; list some of these"
    )]
    NoCpu {
        /// As configured.
        cpu: u16,
        /// Its place in the lists.
        vcpu: usize,
        /// What there is instead.
        usable: String,
    },
    /// The host's answer to something that should work.
    #[error("the host does not tell which CPUs this process can run on")]
    Host(#[source] io::Error),
}

impl CpuSet {
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Has this thread run there, on those of the CPUs that it can run on.
    ///
    /// # Errors
    /// If it can run on none of them.
    #[allow(unsafe_code)]
    pub(crate) fn pin(&self) -> io::Result<()> {
        let (size, mask) = (size_of_val(&self.0), self.0.as_ptr());
        // SAFETY: the kernel reads so many bytes of the mask, which are there.
        let done = unsafe { libc::sched_setaffinity(0, size, mask.cast()) };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Where this thread can run now.
    #[allow(unsafe_code)]
    fn of_thread() -> io::Result<Self> {
        let mut set = Self::default();
        let (size, mask) = (size_of_val(&set.0), set.0.as_mut_ptr());
        // SAFETY: the kernel writes at most so many bytes of the mask, which are there and may have any value.
        let done = unsafe { libc::sched_getaffinity(0, size, mask.cast()) };
        if done == 0 {
            Ok(set)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn numbers(&self) -> impl Iterator<Item = u16> {
        (0..=MachineConfig::MAX_HOST_CPU).filter(|cpu| self.has(*cpu))
    }

    fn has(&self, cpu: u16) -> bool {
        let (word, bit) = (usize::from(cpu) / BITS, usize::from(cpu) % BITS);
        self.0.get(word).is_some_and(|word| word >> bit & 1 != 0)
    }

    /// As ranges: `0-3,8`.
    fn ranges(&self) -> String {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for cpu in self.numbers() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        let text = |(first, last): (u16, u16)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
    }
}

impl Default for CpuSet {
    fn default() -> Self {
        Self([0; _])
    }
}

impl FromIterator<u16> for CpuSet {
    /// Numbers above [`MachineConfig::MAX_HOST_CPU`], which no configuration has, are left out.
    fn from_iter<I: IntoIterator<Item = u16>>(cpus: I) -> Self {
        let mut set = Self::default();
        for cpu in cpus {
            if let Some(word) = set.0.get_mut(usize::from(cpu) / BITS) {
                *word |= 1 << (usize::from(cpu) % BITS);
            }
        }
        set
    }
}

/// The set of each vCPU, or nothing if they are free.
///
/// # Errors
/// The first CPU that is not there.
pub(crate) fn sets(lists: &[Vec<u16>]) -> Result<Vec<CpuSet>, AffinityError> {
    lists
        .iter()
        .enumerate()
        .map(|(vcpu, list)| set(vcpu, list))
        .collect()
}

fn set(vcpu: usize, list: &[u16]) -> Result<CpuSet, AffinityError> {
    let wanted: CpuSet = list.iter().copied().collect();
    // A thread that is no longer needed tries it: the host leaves out what is not there, and tells by an error only if nothing is left.
    let tried = thread::scope(|scope| {
        let attempt = || {
            // All CPUs that the host lets the process have, which may be more than it runs on.
            let all: CpuSet = (0..=MachineConfig::MAX_HOST_CPU).collect();
            all.pin()?;
            let usable = CpuSet::of_thread()?;
            let has = wanted
                .pin()
                .and_then(|()| CpuSet::of_thread())
                .unwrap_or_default();
            Ok((usable, has))
        };
        let thread = thread::Builder::new().spawn_scoped(scope, attempt)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    });
    let (usable, has) = tried.map_err(AffinityError::Host)?;
    match list.iter().find(|cpu| !has.has(**cpu)) {
        Some(cpu) => Err(AffinityError::NoCpu {
            cpu: *cpu,
            vcpu,
            usable: usable.ranges(),
        }),
        None => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_told_as_ranges() {
        let set: CpuSet = [7, 0, 1, 2, 64, 8191].into_iter().collect();
        assert_eq!(set.ranges(), "0-2,7,64,8191");
        assert_eq!(CpuSet::default().ranges(), "");
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named_beside_those_that_are() {
        let here = CpuSet::of_thread().unwrap();
        let cpu = here.numbers().next().unwrap();
        assert_eq!(sets(&[vec![cpu]]).unwrap(), [[cpu].into_iter().collect()]);
        let error = sets(&[vec![cpu], vec![cpu, 8191]]).unwrap_err().to_string();
        assert!(error.contains("CPU 8191 for vCPU 1"), "{error}");
        assert_eq!(
            CpuSet::of_thread().unwrap(),
            here,
            "the test's own thread was moved"
        );
    }
}
