//! Debian's docker-compose 1.29, unchanged, with a project in a directory of the test's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hull_tests::{Daemon, Finished, Home, run};

/// Whether it is there; says so where it is not.
pub(crate) fn has_compose() -> bool {
    let found = Command::new("docker-compose").arg("version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: docker-compose is not installed");
    }
    found
}

/// One project: its name is its directory's.
pub(crate) struct Project<'a> {
    daemon: &'a Daemon<'a>,
    home: &'a Home,
    name: &'static str,
}

impl<'a> Project<'a> {
    /// Writes its `docker-compose.yml`.
    pub(crate) fn new(
        daemon: &'a Daemon<'a>,
        home: &'a Home,
        name: &'static str,
        text: &str,
    ) -> Self {
        let project = Self { daemon, home, name };
        project.write("docker-compose.yml", text);
        project
    }

    fn directory(&self) -> PathBuf {
        self.home.scratch().join(self.name)
    }

    /// Puts a file into its directory.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs `docker-compose ARGS...` to its end, with an empty standard input.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        let mut command = Command::new("docker-compose");
        command
            .current_dir(self.directory())
            .args(["--no-ansi", "-p", self.name])
            .args(args)
            .env("DOCKER_CONFIG", self.home.scratch().join("docker"))
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.daemon.socket().display()),
            )
            .env("COMPOSE_HTTP_TIMEOUT", "600")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("COMPOSE_FILE");
        run(&mut command)
    }

    /// The same, for one that succeeds: its output without spaces around it.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).success().trim().to_owned()
    }

    /// What a command in a service's container prints.
    #[track_caller]
    pub(crate) fn exec(&self, service: &str, command: &str) -> String {
        self.ok(&["exec", "-T", service, "sh", "-c", command])
    }

    /// The states of its containers, `NAME STATE` in the order of their names.
    pub(crate) fn states(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let listed = self.daemon.ok(&[
            "ps",
            "--all",
            "--format",
            "{{.Names}} {{.State}}",
            "--filter",
            &label,
        ]);
        let mut all: Vec<String> = listed.lines().map(str::to_owned).collect();
        all.sort();
        all
    }
}
