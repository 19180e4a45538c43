//! What Docker's client can do and `hull` cannot, each with what to do about it.

const SWARM: &str = "this host is in no swarm: hull runs containers of one machine, several of which docker compose puts together";
const COMPOSE: &str = "Compose is a program of its own, which works with the daemon as it is: \
    export DOCKER_HOST=\"$(hull context ls --format '{{.DockerEndpoint}}')\", and then docker compose";
const BUILDX: &str = "there is no BuildKit here: hull build builds a Dockerfile, and docker build with DOCKER_BUILDKIT=0 does";
const PLUGIN: &str =
    "there are no plugins: networks, volumes and logs have the drivers that docker info names";
const TRUST: &str = "signatures of images are not looked at: an image is what its digest says, as in hull pull NAME@sha256:...";
const MANIFEST: &str = "an image is for one platform here, and lists of them are made by other tools, such as skopeo and crane";
const CLIENTS: &str = "that is a plugin of Docker's own client";

/// Why there is no such command.
pub(crate) fn reason(command: &str) -> Option<&'static str> {
    match command {
        "swarm" | "node" | "service" | "stack" | "config" | "secret" => Some(SWARM),
        "compose" => Some(COMPOSE),
        "buildx" | "bake" => Some(BUILDX),
        "plugin" => Some(PLUGIN),
        "trust" => Some(TRUST),
        "manifest" => Some(MANIFEST),
        "scout" | "scan" | "sbom" | "init" | "debug" | "desktop" | "extension" | "model"
        | "mcp" | "offload" => Some(CLIENTS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::reason;
    use crate::Cli;

    /// All commands of Docker's client.
    const DOCKERS: &str = "run exec ps build bake pull push images login logout search version info builder buildx checkpoint \
        compose container context image manifest network plugin system trust volume config node secret service stack \
        swarm attach commit cp create diff events export history import inspect kill load logs pause port rename restart \
        rm rmi save start stats stop tag top unpause update wait";

    #[test]
    fn each_command_of_docker_s_is_there_or_refused_with_a_reason() {
        let own = Cli::command();
        for name in DOCKERS.split_whitespace() {
            let known = own.find_subcommand(name).is_some();
            assert_ne!(known, reason(name).is_some(), "{name}");
        }
    }
}
