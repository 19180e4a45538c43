//! Four services, each in an image of Debian's packages.

use std::collections::BTreeSet;

use hull_tests::network::{end, fetch};
use hull_tests::{Daemon, Home};

use crate::project::Project;
use crate::usable;

const SERVICES: &str = r#"
version: "3"
services:
  web:
    image: nginx
    ports: ["8080:80"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    restart: on-failure
    depends_on: [app]
  app:
    build: ./app
    depends_on: [db, cache]
  db:
    image: mariadb
    volumes: ["rows:/var/lib/mysql"]
  cache:
    image: redis
volumes:
  rows:
"#;

const NGINX: &str = "
worker_processes 1;
error_log stderr;
events {}
http {
    access_log off;
    upstream app { server app:8000; }
    server {
        listen 80;
        location / { proxy_pass http://app; proxy_read_timeout 600s; }
    }
}
";

const DOCKERFILE: &str = r#"
FROM python
COPY app.py /srv/app.py
CMD ["python3", "-u", "/srv/app.py"]
"#;

/// Counts visits in the cache and keeps one row of each in the database.
const APP: &str = r#"
import http.server
import socketserver
import socket

import pymysql
import redis

HOST = socket.gethostname()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        visit = redis.Redis(host="cache").incr("visits")
        database = pymysql.connect(
            host="db", user="app", password="secret", database="app", autocommit=True
        )
        with database, database.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS visits (host TEXT)")
            cursor.execute("INSERT INTO visits VALUES (%s)", (HOST,))
            cursor.execute("SELECT COUNT(*) FROM visits")
            (rows,) = cursor.fetchone()
        body = f"visit {visit} rows {rows} host {HOST} end".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


Server(("", 8000), Page).serve_forever()
"#;

/// What the application said.
#[derive(Debug)]
struct Visit {
    visit: u64,
    rows: u64,
    host: String,
}

/// Visits it, as soon as all of its services are up.
#[track_caller]
fn visit() -> Visit {
    let said = fetch(8080, "/", " end");
    let body = said.split("\r\n\r\n").last().unwrap_or_default();
    let words: Vec<&str> = body.split(' ').collect();
    match words[..] {
        ["visit", visit, "rows", rows, "host", host, "end"] => Visit {
            visit: visit.parse().unwrap(),
            rows: rows.parse().unwrap(),
            host: host.to_owned(),
        },
        _ => panic!("{said}"),
    }
}

#[test]
#[ignore = "a database that starts takes minutes where guest kernels are emulated"]
fn four_services_work_together_are_scaled_and_restarted_and_their_data_outlives_them() {
    if !usable() {
        return;
    }
    let mut home = Home::new().with_networks();
    for image in ["nginx", "python", "mariadb", "redis"] {
        home = home.load(image);
    }
    let daemon = Daemon::start(&home);
    let project = Project::new(&daemon, &home, "shop", SERVICES);
    project.write("nginx.conf", NGINX);
    project.write("app/Dockerfile", DOCKERFILE);
    project.write("app/app.py", APP);
    project.ok(&["up", "-d"]);
    let first = visit();
    let second = visit();
    assert_eq!(
        (second.visit, second.rows),
        (first.visit + 1, first.rows + 1),
        "{first:?} {second:?}"
    );
    let version = project.exec("db", "mariadbd --version");
    assert!(version.contains("Ver 10.11."), "{version}");

    // The server in front learns of another replica when it starts.
    project.ok(&["up", "-d", "--scale", "app=2", "--no-recreate"]);
    project.ok(&["restart", "web"]);
    let mut hosts = BTreeSet::from([first.host]);
    while hosts.len() < 2 {
        hosts.insert(visit().host);
    }
    project.ok(&["up", "-d", "--scale", "app=1", "--no-recreate"]);
    assert_eq!(
        project.states(),
        [
            "shop_app_1 running",
            "shop_cache_1 running",
            "shop_db_1 running",
            "shop_web_1 running"
        ]
    );

    project.ok(&["restart", "-t", "300", "db"]);
    let before = visit();
    assert!(before.rows > second.rows, "{before:?}");

    // The cache is empty in the next one, and the database is not.
    project.ok(&["down", "-t", "300"]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "shop_rows");
    project.ok(&["up", "-d"]);
    let after = visit();
    assert!(after.rows > before.rows, "{before:?} {after:?}");
    assert!(after.visit < before.visit, "{before:?} {after:?}");
    project.ok(&["down", "-t", "300", "-v", "--rmi", "local"]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
    assert_eq!(daemon.ok(&["images", "-q", "shop_app"]), "");
    end(daemon);
}
