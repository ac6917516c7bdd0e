//! git: import, clone, merge, repack with threads and check a repository of a few hundred commits.

use std::fs::File;

use crate::generated;
use crate::harness::{Bytes, same_with_and_without};

/// No settings of the machine's or the user's; two threads, also for small packs.
const SETTINGS: &str = "
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
    export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.com GIT_AUTHOR_DATE='1700000000 +0000'
    export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.com GIT_COMMITTER_DATE='1700000000 +0000'
    git() { command git -c init.defaultBranch=main -c pack.threads=2 -c gc.auto=0 \"$@\"; }
";

#[test]
fn git() {
    let history = generated::git_history(400, 60);
    same_with_and_without("git", &["git"], |side| {
        let stream = side.write("stream", &history);
        let run = |script: &str| side.shell(&format!("{SETTINGS}{script}"));

        run("git init -q --bare source.git");
        side.ok(side
            .command("git")
            .args(["-C", "source.git", "fast-import", "--quiet"])
            .stdin(File::open(stream).unwrap()));
        run("git clone -q --no-local source.git copy");
        [
            "git -C copy gc -q --aggressive --prune=now && git -C copy count-objects",
            "git -C copy fsck --full --strict --no-progress",
            "git -C copy log --graph --stat --all",
            "git -C copy log -p -M --cc main",
            "git -C copy rev-list --objects --all",
            "git -C copy cat-file --batch-all-objects --batch",
            "git -C copy blame --porcelain part-3/file-10.txt",
            "git -C copy grep -n --threads 2 -E 'pool.*(free|list)'",
            "cd copy && git checkout -q -b topic main~30 && echo topic > topic.txt && git add . &&
                git commit -q -m topic && git merge -q -m merged main && git rebase -q main && git log -3 --stat",
        ]
        .map(|script| {
            let outcome = run(script);
            (outcome.status, Bytes(outcome.stdout), String::from_utf8_lossy(&outcome.stderr).into_owned())
        })
    });
}
