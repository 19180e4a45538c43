use super::*;

fn image() -> ImageDefaults {
    ImageDefaults {
        entrypoint: vec!["/entry".into(), "--flag".into()],
        command: vec!["serve".into()],
        env: vec!["PATH=/bin".into(), "MODE=image".into(), "EMPTY=".into()],
        working_dir: "/srv".into(),
        user: "www".into(),
        stop_signal: "SIGQUIT".into(),
        volumes: vec!["/data".into()],
    }
}

fn merged(image: &ImageDefaults, config: &ContainerConfig) -> Merged {
    merge(&ContainerId::random().unwrap(), image, config).unwrap()
}

#[test]
fn entrypoint_and_command_combine_as_docker_does() {
    let argv = |entrypoint: Option<&str>, command: &[&str]| {
        let config = ContainerConfig {
            entrypoint: entrypoint.map(|text| match text {
                "" => Vec::new(),
                text => vec![text.to_owned()],
            }),
            command: command.iter().map(|&arg| arg.to_owned()).collect(),
            ..ContainerConfig::default()
        };
        argv(&image(), &config).map(|argv| argv.join(" "))
    };
    assert_eq!(argv(None, &[]).as_deref(), Some("/entry --flag serve"));
    assert_eq!(
        argv(None, &["a", "b"]).as_deref(),
        Some("/entry --flag a b")
    );
    assert_eq!(argv(Some("sh"), &[]).as_deref(), Some("sh"));
    assert_eq!(argv(Some("sh"), &["-c", "x"]).as_deref(), Some("sh -c x"));
    assert_eq!(argv(Some(""), &["ls"]).as_deref(), Some("ls"));
    assert_eq!(argv(Some(""), &[]), None);
}

#[test]
fn an_image_without_a_command_needs_one() {
    let id = ContainerId::random().unwrap();
    let config = ContainerConfig {
        image: "scratch".into(),
        ..ContainerConfig::default()
    };
    let error = merge(&id, &ImageDefaults::default(), &config).unwrap_err();
    assert!(
        error.to_string().contains("no command specified"),
        "{error}"
    );
}

#[test]
fn the_environment_is_default_then_image_then_user() {
    let config = ContainerConfig {
        env: vec![
            "MODE=user".into(),
            "EMPTY".into(),
            "NEW=1=2".into(),
            "ABSENT".into(),
        ],
        hostname: Some("tiny".into()),
        tty: true,
        ..ContainerConfig::default()
    };
    let merged = merged(&image(), &config);
    assert_eq!(
        merged.env,
        [
            "PATH=/bin",
            "HOSTNAME=tiny",
            "TERM=xterm",
            "MODE=user",
            "NEW=1=2"
        ]
    );
    let plain = environment("h", &ImageDefaults::default(), &ContainerConfig::default());
    assert_eq!(plain, [DEFAULT_PATH, "HOSTNAME=h"]);
}

#[test]
fn the_image_decides_what_the_user_leaves_open() {
    let merged = merged(&image(), &ContainerConfig::default());
    assert_eq!(
        (
            merged.cwd.as_str(),
            merged.user.as_str(),
            merged.stop_signal
        ),
        ("/srv", "www", 3)
    );
    assert_eq!(merged.hostname.len(), 12);
    assert_eq!(merged.capabilities.effective, CapabilitySet::DOCKER_DEFAULT);
    assert_eq!(merged.volumes, ["/data"]);
    let config = ContainerConfig {
        working_dir: Some("/".into()),
        user: Some("0".into()),
        stop_signal: Some("9".into()),
        privileged: true,
        ..ContainerConfig::default()
    };
    let merged = merge(&ContainerId::random().unwrap(), &image(), &config).unwrap();
    assert_eq!(
        (
            merged.cwd.as_str(),
            merged.user.as_str(),
            merged.stop_signal
        ),
        ("/", "0", 9)
    );
    assert_eq!(merged.capabilities.effective, CapabilitySet::ALL);
}

#[test]
fn what_no_image_can_mend_is_refused_at_once() {
    let base = ContainerConfig::default;
    let bad = [
        ContainerConfig {
            working_dir: Some("relative".into()),
            ..base()
        },
        ContainerConfig {
            cap_add: vec!["FLY".into()],
            ..base()
        },
        ContainerConfig {
            hostname: Some("a b".into()),
            ..base()
        },
        ContainerConfig {
            stop_signal: Some("SIGNOPE".into()),
            ..base()
        },
        ContainerConfig {
            command: vec!["a\0b".into()],
            ..base()
        },
        ContainerConfig {
            ulimits: vec![Ulimit {
                name: "wings".into(),
                soft: 1,
                hard: 1,
            }],
            ..base()
        },
        ContainerConfig {
            tmpfs: vec![crate::container::Tmpfs {
                path: "t".into(),
                options: String::new(),
            }],
            ..base()
        },
    ];
    for config in bad {
        assert!(check(&config).is_err(), "{config:?}");
    }
    assert_eq!(check(&base()), Ok(()));
}
