//! The table of paths and methods: which there are, and what each makes of its body.

use std::fmt;

use super::body::Input;
use super::{ActionBody, Request, SnapshotLoad, SnapshotLoadBody};
use crate::config::{
    CpuTemplate, DRIVES, HintingStart, INTERFACES, MachineConfig, MachineUpdate, MmdsConfig,
    MmdsVersion, PMEM, SHARES, Vsock,
};
use crate::fault::Fault;

/// The methods that some path has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Put,
    Patch,
    Delete,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with the name of an id in braces.
    pub path: &'static str,
    parse: fn(&mut Input<'_>) -> Result<Request, Fault>,
}

/// What a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it wants.
    pub request: Request,
    /// It uses something that Firecracker has deprecated, which the answer's `Deprecation` header tells.
    pub deprecated: bool,
}

/// Longer paths are cut where they are quoted.
const MAX_QUOTED: usize = 128;

/// The path below which a PATCH needs no body.
const HINTING: &str = "/balloon/hinting/";

/// All that there is.
pub const ROUTES: &[Route] = &[
    get("/", |_| Ok(Request::GetInstance)),
    get("/version", |_| Ok(Request::GetVersion)),
    get("/vm/config", |_| Ok(Request::GetVmConfig)),
    patch("/vm", |i| Ok(Request::PatchVm(i.checked()?))),
    put("/actions", |i| {
        Ok(Request::PutAction(i.json::<ActionBody>()?.action_type))
    }),
    put("/boot-source", |i| Ok(Request::PutBootSource(i.checked()?))),
    get("/machine-config", |_| Ok(Request::GetMachineConfig)),
    put("/machine-config", |i| {
        let machine: MachineConfig = i.checked()?;
        i.deprecated = machine.cpu_template != CpuTemplate::None;
        Ok(Request::PutMachineConfig(machine))
    }),
    patch("/machine-config", |i| {
        let update: MachineUpdate = i.checked()?;
        if update == MachineUpdate::default() {
            return Err(empty(Method::Patch));
        }
        i.deprecated = update.cpu_template.is_some();
        Ok(Request::PatchMachineConfig(update))
    }),
    put("/cpu-config", |i| Ok(Request::PutCpuConfig(i.json()?))),
    put("/drives/{drive_id}", |i| {
        Ok(Request::PutDrive(Box::new(i.named()?)))
    }),
    patch("/drives/{drive_id}", |i| {
        Ok(Request::PatchDrive(i.named()?))
    }),
    delete("/drives/{drive_id}", |i| {
        Ok(Request::DeleteDrive(i.id(&DRIVES)?))
    }),
    put("/pmem/{id}", |i| Ok(Request::PutPmem(Box::new(i.named()?)))),
    patch("/pmem/{id}", |i| Ok(Request::PatchPmem(i.named()?))),
    delete("/pmem/{id}", |i| Ok(Request::DeletePmem(i.id(&PMEM)?))),
    put("/network-interfaces/{iface_id}", |i| {
        Ok(Request::PutNetworkInterface(Box::new(i.named()?)))
    }),
    patch("/network-interfaces/{iface_id}", |i| {
        Ok(Request::PatchNetworkInterface(Box::new(i.named()?)))
    }),
    delete("/network-interfaces/{iface_id}", |i| {
        Ok(Request::DeleteNetworkInterface(i.id(&INTERFACES)?))
    }),
    put("/shares/{tag}", |i| Ok(Request::PutShare(i.named()?))),
    delete("/shares/{tag}", |i| {
        Ok(Request::DeleteShare(i.id(&SHARES)?))
    }),
    put("/vsock", |i| {
        let vsock: Vsock = i.checked()?;
        i.deprecated = vsock.vsock_id.is_some();
        Ok(Request::PutVsock(vsock))
    }),
    put("/entropy", |i| Ok(Request::PutEntropy(i.checked()?))),
    put("/serial", |i| Ok(Request::PutSerial(i.checked()?))),
    put("/console", |i| Ok(Request::PutConsole(i.checked()?))),
    patch("/console", |i| Ok(Request::PatchConsole(i.checked()?))),
    get("/balloon", |_| Ok(Request::GetBalloon)),
    put("/balloon", |i| Ok(Request::PutBalloon(i.json()?))),
    patch("/balloon", |i| Ok(Request::PatchBalloon(i.json()?))),
    get("/balloon/statistics", |_| Ok(Request::GetBalloonStatistics)),
    patch("/balloon/statistics", |i| {
        Ok(Request::PatchBalloonStatistics(i.json()?))
    }),
    patch("/balloon/hinting/start", |i| {
        Ok(Request::StartHinting(match i.body {
            [] => HintingStart::default(),
            _ => i.json()?,
        }))
    }),
    get("/balloon/hinting/status", |_| Ok(Request::GetHintingStatus)),
    // With any body, as Firecracker has it.
    patch("/balloon/hinting/stop", |_| Ok(Request::StopHinting)),
    get("/hotplug/memory", |_| Ok(Request::GetMemoryHotplug)),
    put("/hotplug/memory", |i| {
        Ok(Request::PutMemoryHotplug(i.checked()?))
    }),
    patch("/hotplug/memory", |i| {
        Ok(Request::PatchMemoryHotplug(i.json()?))
    }),
    get("/mmds", |_| Ok(Request::GetMmds)),
    put("/mmds", |i| Ok(Request::PutMmds(i.object()?))),
    patch("/mmds", |i| Ok(Request::PatchMmds(i.object()?))),
    put("/mmds/config", |i| {
        let config: MmdsConfig = i.json()?;
        i.deprecated = config.version == MmdsVersion::V1;
        Ok(Request::PutMmdsConfig(config))
    }),
    put("/logger", |i| Ok(Request::PutLogger(i.checked()?))),
    get("/metrics", |_| Ok(Request::GetMetrics)),
    put("/metrics", |i| Ok(Request::PutMetrics(i.checked()?))),
    put("/snapshot/create", |i| {
        Ok(Request::CreateSnapshot(i.checked()?))
    }),
    put("/snapshot/load", |i| {
        let body: SnapshotLoadBody = i.json()?;
        i.deprecated = body.is_deprecated();
        let load = SnapshotLoad::try_from(body);
        let load = load.map_err(|error| Fault::json(&serde::de::Error::custom(error)))?;
        load.validate()?;
        Ok(Request::LoadSnapshot(Box::new(load)))
    }),
];

type Parse = fn(&mut Input<'_>) -> Result<Request, Fault>;

const fn get(path: &'static str, parse: Parse) -> Route {
    let method = Method::Get;
    Route {
        method,
        path,
        parse,
    }
}

const fn put(path: &'static str, parse: Parse) -> Route {
    let method = Method::Put;
    Route {
        method,
        path,
        parse,
    }
}

const fn patch(path: &'static str, parse: Parse) -> Route {
    let method = Method::Patch;
    Route {
        method,
        path,
        parse,
    }
}

const fn delete(path: &'static str, parse: Parse) -> Route {
    let method = Method::Delete;
    Route {
        method,
        path,
        parse,
    }
}

/// Finds the row and lets it read the body.
pub(super) fn parse(method: Method, path: &str, body: &[u8]) -> Result<Parsed, Fault> {
    let normal = normal(path);
    let no_body_needed = method == Method::Patch && normal.starts_with(&HINTING[1..]);
    if body.is_empty() == method.has_body() && !no_body_needed {
        return Err(empty(method));
    }
    let found = ROUTES
        .iter()
        .filter(|route| route.method == method)
        .find_map(|route| Some((route, route.id(normal)?)));
    let Some((route, id)) = found else {
        let quoted: String = normal.chars().take(MAX_QUOTED).collect();
        return Err(Fault::bad_request(format!(
            "Invalid request method and/or path: {method} {quoted}."
        )));
    };
    let mut input = Input {
        id,
        body,
        deprecated: false,
    };
    let request = (route.parse)(&mut input)?;
    Ok(Parsed {
        request,
        deprecated: input.deprecated,
    })
}

/// The row of [`ROUTES`] that a request is about.
pub(crate) fn row(method: Method, path: &str) -> Option<usize> {
    let path = normal(path);
    let fits = |route: &Route| route.method == method && route.id(path).is_some();
    ROUTES.iter().position(fits)
}

/// A path as Firecracker sees it: of the absolute form only the path, without slashes around it.
fn normal(path: &str) -> &str {
    let path = match path.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => path,
    };
    let path = path.trim_start_matches('/');
    path.strip_suffix('/').unwrap_or(path)
}

/// A body where there must be none, or none where there must be one, in Firecracker's words.
fn empty(method: Method) -> Fault {
    Fault::bad_request(match method {
        Method::Get => "GET request cannot have a body.",
        Method::Put => "Empty PUT request.",
        Method::Patch => "Empty PATCH request.",
        Method::Delete => "DELETE request cannot have a body.",
    })
}

impl Route {
    /// The id in `path`, empty if this row has none or it is missing; `None` if the row is about another path.
    fn id<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path[1..].split_once("/{") {
            None => (path == &self.path[1..]).then_some(""),
            Some((section, _)) => match path.strip_prefix(section)? {
                "" => Some(""),
                rest => rest.strip_prefix('/').filter(|id| !id.contains('/')),
            },
        }
    }
}

impl Method {
    /// Whether its requests have one.
    fn has_body(self) -> bool {
        matches!(self, Self::Put | Self::Patch)
    }

    /// As it is written in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method that is written so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Get, Self::Put, Self::Patch, Self::Delete];
        all.into_iter().find(|method| method.as_str() == name)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
