//! Images of services, each a small Debian with one package and what that needs: `nginx`, `python`, `mariadb`, `redis`, and
//! `redis-trixie`, a newer one.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::debian::{PATH, System};

/// What nobody reads there.
const LEFT_OUT: [&str; 4] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];

/// A database that is small from the beginning, since a volume is filled with it, and that has a user.
const MARIADB_SETUP: &str = r#"
set -e
cat > /etc/mysql/mariadb.conf.d/99-small.cnf <<END
[mariadbd]
bind_address = 0.0.0.0
socket = /tmp/mysqld.sock
pid_file = /tmp/mysqld.pid
innodb_buffer_pool_size = 8M
innodb_log_file_size = 4M
innodb_temp_data_file_path = ibtmp1:2M:autoextend
innodb_flush_method = fsync
performance_schema = OFF
skip_log_bin
skip_name_resolve
wsrep_node_address = 127.0.0.1
END
rm -rf /var/lib/mysql/*
mariadb-install-db --user=mysql --skip-test-db --force > /dev/null
mariadbd --user=mysql --bootstrap <<END
FLUSH PRIVILEGES;
DROP DATABASE sys;
CREATE DATABASE app;
CREATE USER app@'%' IDENTIFIED BY 'secret';
GRANT ALL ON app.* TO app@'%';
END
"#;

struct Service {
    name: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
    /// A shell script that is run in it.
    setup: &'static str,
    config: fn() -> Value,
}

const SERVICES: &[Service] = &[
    Service {
        name: "nginx",
        suite: "bookworm",
        packages: &["nginx-light"],
        setup: "",
        config: || {
            json!({
                "Env": [PATH],
                "Cmd": ["nginx", "-g", "daemon off;"],
                "ExposedPorts": { "80/tcp": {} },
                "StopSignal": "SIGQUIT",
            })
        },
    },
    Service {
        name: "python",
        suite: "bookworm",
        packages: &["python3-minimal", "python3-pymysql", "python3-redis"],
        setup: "",
        config: || json!({ "Env": [PATH], "Cmd": ["python3"] }),
    },
    Service {
        name: "mariadb",
        suite: "bookworm",
        packages: &["mariadb-server"],
        setup: MARIADB_SETUP,
        config: || {
            json!({
                "Env": [PATH],
                "Cmd": ["mariadbd", "--user=mysql"],
                "ExposedPorts": { "3306/tcp": {} },
                "Volumes": { "/var/lib/mysql": {} },
            })
        },
    },
    Service {
        name: "redis",
        suite: "bookworm",
        packages: &["redis-server"],
        setup: "",
        config: redis,
    },
    Service {
        name: "redis-trixie",
        suite: "trixie",
        packages: &["redis-server"],
        setup: "",
        config: redis,
    },
];

fn redis() -> Value {
    json!({
        "Env": [PATH],
        "Cmd": ["redis-server", "--dir", "/srv", "--protected-mode", "no"],
        "ExposedPorts": { "6379/tcp": {} },
    })
}

pub(super) fn inputs(name: &str) -> Result<Vec<u8>> {
    let Service {
        suite,
        packages,
        setup,
        config,
        ..
    } = find(name)?;
    let left_out = LEFT_OUT.join(" ");
    let packages = packages.join(" ");
    Ok(format!("{suite} {packages} {left_out} {setup} {}", config()).into_bytes())
}

pub(super) fn make(name: &str, dir: &Path) -> Result<()> {
    let service = find(name)?;
    let left_out = LEFT_OUT.iter();
    let mut options: Vec<String> = left_out
        .map(|path| format!("--dpkgopt=path-exclude={path}"))
        .collect();
    if !service.setup.is_empty() {
        let script = service.setup.replace('\'', r"'\''");
        options.push(format!("--customize-hook=chroot \"$1\" sh -c '{script}'"));
    }
    let system = System {
        name: service.name,
        suite: service.suite,
        variant: "essential",
        packages: service
            .packages
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        options,
    };
    system.make(dir, &(service.config)())
}

fn find(name: &str) -> Result<&'static Service> {
    let found = SERVICES.iter().find(|service| service.name == name);
    found.with_context(|| format!("there is no service {name}"))
}
