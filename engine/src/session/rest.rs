//! A machine at rest: leaving it, and coming back to it or to a clone of it.

use std::io;
use std::path::Path;

use hull_agent_protocol::{Configure, EngineEnd, Event, PORT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Opening, SessionError};

/// The longest answer of a VMM to `CONNECT` is `OK`, a number and the end of the line.
const LONGEST_ANSWER: usize = 32;

/// What is done to a machine before it is left at rest.
#[derive(Debug)]
pub(crate) struct Mounting {
    pub(crate) configure: Configure,
    /// Where the program may be that runs in it.
    pub(crate) programs: Vec<String>,
}

/// The control channel of a machine that is a container's and has no process. The machine powers off when this is dropped.
#[derive(Debug)]
pub(crate) struct Idle {
    stream: UnixStream,
    end: EngineEnd,
}

/// Makes a machine a container's, without starting its process.
pub(crate) async fn idle(stream: UnixStream, opening: Opening) -> Result<Idle, SessionError> {
    let mut end = EngineEnd::new();
    let opened = match opening {
        Opening::Configure(configure) => end.configure(configure),
        Opening::Adopt(adopt) => end.adopt(adopt),
        Opening::Nothing => Ok(()),
    };
    opened.map_err(SessionError::TooLong)?;
    let mut idle = Idle { stream, end };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        idle.send().await?;
        while let Some(event) = idle.end.event()? {
            match event {
                Event::Configured { .. } => return Ok(idle),
                Event::Failed(failure) => return Err(SessionError::Refused(failure)),
                _ => {}
            }
        }
        let count = idle.stream.read(&mut buffer).await;
        match count.map_err(SessionError::Lost)? {
            0 => return Err(SessionError::Lost(io::ErrorKind::UnexpectedEof.into())),
            count => idle.end.received(buffer.get(..count).unwrap_or_default()),
        }
    }
}

impl Idle {
    async fn send(&mut self) -> Result<(), SessionError> {
        while !self.end.outgoing().is_empty() {
            let sent = self.stream.write(self.end.outgoing()).await;
            self.end.sent(sent.map_err(SessionError::Lost)?);
        }
        Ok(())
    }

    /// Asks the machine to write everything to its disk and power off. Returns when it has closed the connection, a moment before it is off.
    pub(crate) async fn shut_down(mut self) -> Result<(), SessionError> {
        self.end.shutdown();
        self.send().await?;
        let mut buffer = [0; 1024];
        while self
            .stream
            .read(&mut buffer)
            .await
            .map_err(SessionError::Lost)?
            > 0
        {}
        Ok(())
    }
}

/// Has the agent at the other end let go of the engine, after it has mounted what there is to mount. Returns when the connection is closed:
/// the guest has nothing more to do then.
pub(crate) async fn hold(
    mut stream: UnixStream,
    mounting: Option<Mounting>,
) -> Result<(), SessionError> {
    let mut end = EngineEnd::new();
    if let Some(Mounting {
        configure,
        programs,
    }) = mounting
    {
        end.configure(configure).map_err(SessionError::TooLong)?;
        end.warm(programs).map_err(SessionError::TooLong)?;
    }
    end.hold();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        while !end.outgoing().is_empty() {
            let sent = stream.write(end.outgoing()).await;
            end.sent(sent.map_err(SessionError::Lost)?);
        }
        let held = loop {
            match end.event()? {
                Some(Event::Held) => break true,
                Some(Event::Failed(failure)) => return Err(SessionError::Refused(failure)),
                Some(_) => {}
                None => break false,
            }
        };
        match stream.read(&mut buffer).await.map_err(SessionError::Lost)? {
            0 if held => return Ok(()),
            0 => return Err(SessionError::Lost(io::ErrorKind::UnexpectedEof.into())),
            count => end.received(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// Connects to the agent of a machine at rest, by the socket of its vsock device.
pub(crate) async fn connect(socket: &Path) -> Result<UnixStream, SessionError> {
    let dial = async {
        let mut stream = UnixStream::connect(socket).await?;
        let request = format!("CONNECT {PORT}\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(LONGEST_ANSWER);
        // No byte more: the agent's own come behind it.
        while answer.last() != Some(&b'\n') && answer.len() < LONGEST_ANSWER {
            answer.push(stream.read_u8().await?);
        }
        match answer.starts_with(b"OK ") {
            true => Ok(stream),
            false => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    };
    dial.await.map_err(SessionError::Lost)
}
