//! What a microVM does, and which requests go with it: Firecracker's rules, as a table. One that runs can be saved as well.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::request::{Action, Request};

/// What a microVM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It is being configured.
    #[serde(rename = "Not started")]
    NotStarted,
    /// Its vCPUs run.
    Running,
    /// They stand still.
    Paused,
}

/// When a request is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    BeforeStart,
    AfterStart,
    Always,
}

impl Stage {
    /// Whether a request is possible now. One that is may still fail.
    ///
    /// # Errors
    /// What Firecracker says of a request that comes too early or too late.
    pub fn check(self, request: &Request) -> Result<(), Fault> {
        match (when(request), self) {
            (When::BeforeStart, Self::Running | Self::Paused) => Err(Fault::after_start()),
            (When::AfterStart, Self::NotStarted) => Err(Fault::bad_request(Fault::BEFORE_START)),
            _ => Ok(()),
        }
    }
}

fn when(request: &Request) -> When {
    match request {
        Request::PutBootSource(_)
        | Request::PutMachineConfig(_)
        | Request::PatchMachineConfig(_)
        | Request::PutCpuConfig(_)
        | Request::PutVsock(_)
        | Request::PutEntropy(_)
        | Request::PutSerial(_)
        | Request::PutConsole(_)
        | Request::PutBalloon(_)
        | Request::PutMemoryHotplug(_)
        | Request::PutDrive(_)
        | Request::DeleteDrive(_)
        | Request::PutPmem(_)
        | Request::DeletePmem(_)
        | Request::PutNetworkInterface(_)
        | Request::DeleteNetworkInterface(_)
        | Request::PutShare(_)
        | Request::DeleteShare(_)
        | Request::PutMmdsConfig(_)
        | Request::PutLogger(_)
        | Request::PutMetrics(_)
        | Request::PutAction(Action::InstanceStart)
        | Request::LoadSnapshot(_) => When::BeforeStart,

        Request::PatchVm(_)
        | Request::PutAction(
            Action::FlushMetrics
            | Action::SendCtrlAltDel
            | Action::SendNmi
            | Action::SendPowerButton,
        )
        | Request::PatchDrive(_)
        | Request::PatchPmem(_)
        | Request::PatchNetworkInterface(_)
        | Request::PatchConsole(_)
        | Request::PatchBalloon(_)
        | Request::GetBalloonStatistics
        | Request::PatchBalloonStatistics(_)
        | Request::StartHinting(_)
        | Request::GetHintingStatus
        | Request::StopHinting
        | Request::GetMemoryHotplug
        | Request::PatchMemoryHotplug(_)
        // Firecracker's has to be paused.
        | Request::CreateSnapshot(_) => When::AfterStart,

        Request::GetInstance
        | Request::GetVersion
        | Request::GetVmConfig
        | Request::GetMachineConfig
        | Request::GetMetrics
        | Request::GetBalloon
        | Request::GetMmds
        | Request::PutMmds(_)
        | Request::PatchMmds(_) => When::Always,
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStarted => "Not started",
            Self::Running => "Running",
            Self::Paused => "Paused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::samples;

    /// The rows that are possible before the start; while running; while paused.
    fn possible(method: &str, path: &str) -> [bool; 3] {
        match (method, path) {
            ("GET", "/balloon/statistics" | "/balloon/hinting/status" | "/hotplug/memory") => {
                [false, true, true]
            }
            ("GET", _) => [true; 3],
            // Nothing is plugged in or pulled out yet.
            ("DELETE", _) => [true, false, false],
            ("PUT", "/snapshot/create") => [false, true, true],
            ("PUT", "/mmds") => [true; 3],
            ("PUT", _) => [true, false, false],
            ("PATCH", "/mmds") => [true; 3],
            ("PATCH", "/machine-config") => [true, false, false],
            _ => [false, true, true],
        }
    }

    #[test]
    fn every_request_has_its_time() {
        for (method, path, body) in samples::all() {
            let request = samples::parse(method, path, &body).unwrap().request;
            let stages = [Stage::NotStarted, Stage::Running, Stage::Paused];
            let found = stages.map(|stage| stage.check(&request).is_ok());
            assert_eq!(found, possible(method.as_str(), path), "{method} {path}");
        }
        for action in [
            Action::FlushMetrics,
            Action::SendCtrlAltDel,
            Action::SendNmi,
            Action::SendPowerButton,
        ] {
            let action = Request::PutAction(action);
            assert!(Stage::NotStarted.check(&action).is_err());
            assert!(Stage::Paused.check(&action).is_ok());
        }
    }

    #[test]
    fn refusals_are_in_the_words_of_firecracker() {
        let start = Request::PutAction(Action::InstanceStart);
        let error = Stage::Running.check(&start).unwrap_err();
        assert_eq!(
            error.message,
            "The requested operation is not supported after starting the microVM."
        );
        let flush = Request::PutAction(Action::FlushMetrics);
        let error = Stage::NotStarted.check(&flush).unwrap_err();
        assert_eq!(
            error.message,
            "The requested operation is not supported before starting the microVM."
        );
        assert_eq!(error.status.line().0, 400);
    }
}
