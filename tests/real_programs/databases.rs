//! The SQLite shell on a script, and a Redis server under its own benchmark.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::common;
use crate::harness::{Outcome, Running, Side, input, same_with_and_without};

#[test]
fn sqlite() {
    same_with_and_without("sqlite", &["sqlite3"], |side| {
        let script = format!(".read '{}'", input("tables.sql").display());
        side.ok(side
            .command("sqlite3")
            .args(["-batch", "-bail", "database", &script]))
    });
}

/// The server of one side, reached by a socket in its folder and by no port.
struct Redis<'a> {
    side: &'a Side,
    server: Running,
}

impl<'a> Redis<'a> {
    fn start(side: &'a Side) -> Self {
        // The socket's name is relative, since a socket's path may have 107 bytes only.
        let server = Running::start(
            side.command("redis-server")
                .args([
                    "--port",
                    "0",
                    "--unixsocket",
                    "socket",
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                ])
                // Values are freed by another thread than the one that made them.
                .args([
                    "--lazyfree-lazy-user-del",
                    "yes",
                    "--lazyfree-lazy-server-del",
                    "yes",
                ])
                .args(["--enable-debug-command", "local", "--logfile", "log"]),
        );
        let redis = Redis { side, server };
        let begun = Instant::now();
        while redis.try_client("PING", &[]).text() != "PONG\n" {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "redis-server does not answer"
            );
            thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    fn try_client(&self, command: &str, arguments: &[&str]) -> Outcome {
        self.side.run(
            self.side
                .command("redis-cli")
                .args(["-s", "socket", command])
                .args(arguments),
        )
    }

    fn client(&self, command: &str, arguments: &[&str]) -> String {
        let outcome = self.try_client(command, arguments);
        let answer = outcome.text();
        assert!(
            outcome.status.success() && !answer.contains("ERR"),
            "{command}: {outcome:?}"
        );
        answer
    }

    /// Each command of the benchmark is timed in its own line; any error ends it or shows in place of a time.
    fn benchmark(&self, options: &str) {
        let outcome = self.side.ok(self
            .side
            .command("redis-benchmark")
            .args(["-s", "socket", "--csv"])
            .args(options.split(' ')));
        let text = outcome.text();
        for line in text.lines().skip(1) {
            let rate = line
                .split(',')
                .nth(1)
                .and_then(|field| field.trim_matches('"').parse::<f64>().ok());
            assert!(
                rate.is_some_and(|rate| rate > 0.0),
                "{options}: {outcome:?}"
            );
        }
        assert!(
            text.lines().count() > 1 && outcome.stderr.is_empty(),
            "{options}: {outcome:?}"
        );
    }

    fn info(&self, section: &str, field: &str) -> String {
        let info = self.client("INFO", &[section]);
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {info}"))
            .trim()
            .to_string()
    }

    /// Waits for a child that writes the data set to end, and asserts that it did so well.
    fn wait_for_child(&self, running: &str, status: &str) {
        let begun = Instant::now();
        while self.info("persistence", running) != "0" {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{running} does not end"
            );
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.info("persistence", status), "ok");
    }
}

#[test]
fn redis() {
    let programs = ["redis-server", "redis-benchmark", "redis-cli"];
    same_with_and_without("redis", &programs, |side| {
        let mut redis = Redis::start(side);
        let maps = fs::read(
            Path::new("/proc")
                .join(redis.server.id().to_string())
                .join("maps"),
        )
        .unwrap();
        let library = common::library().canonicalize().unwrap();
        let mapped = String::from_utf8_lossy(&maps)
            .lines()
            .any(|line| line.ends_with(library.to_str().unwrap()));
        assert!(
            mapped || !side.is_preloaded(),
            "the library is not in the maps of redis-server"
        );

        redis.benchmark(
            "-n 20000 -c 20 -P 16 -d 100 -t set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,mset",
        );
        redis.benchmark("-n 5000 -c 20 -P 8 -d 3000 -t set,lpush,lrange_100,zadd,zpopmin");
        redis.benchmark("-n 20000 -c 50 -r 5000 -t set,hset,sadd");
        redis.client("FLUSHALL", &[]);
        // What is compared holds no random keys.
        redis.client("DEBUG", &["POPULATE", "50000", "small", "40"]);
        redis.client("DEBUG", &["POPULATE", "300", "large", "20000"]);
        redis.client(
            "EVAL",
            &[
                "for i = 1, 5000 do redis.call('HSET', 'hash', 'f' .. i, ('v'):rep(i % 200)) end",
                "0",
            ],
        );
        let digest = redis.client("DEBUG", &["DIGEST"]);
        redis.client("BGSAVE", &[]);
        redis.wait_for_child("rdb_bgsave_in_progress", "rdb_last_bgsave_status");
        redis.client("BGREWRITEAOF", &[]);
        redis.wait_for_child("aof_rewrite_in_progress", "aof_last_bgrewrite_status");
        redis.client("DEBUG", &["RELOAD"]);
        let reloaded = redis.client("DEBUG", &["DIGEST"]);
        assert_eq!(digest, reloaded);
        let size = redis.client("DBSIZE", &[]);
        let used: u64 = redis.info("memory", "used_memory").parse().unwrap();
        assert!((8 << 20..80 << 20).contains(&used), "used_memory is {used}");
        redis.client("FLUSHALL", &["ASYNC"]);
        redis.try_client("SHUTDOWN", &["NOSAVE"]);
        let status = redis.server.wait(Duration::from_secs(20));
        assert!(status.success(), "redis-server: {status}");
        (digest, size)
    });
}
