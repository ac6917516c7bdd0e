//! Inputs that are too large to keep in the tree: text, a C source, a history for git.
//!
//! Owns nothing. Everything here is the same in each call, on each machine.

use std::fmt::Write;

/// A linear congruential generator: what matters is that it never changes.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Numbers(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    pub fn word(&mut self) -> String {
        const SYLLABLES: [&str; 16] = [
            "ar", "en", "blo", "ck", "po", "ol", "he", "ap", "fre", "li", "st", "ma", "p", "su",
            "ing", "er",
        ];
        (0..1 + self.below(4))
            .map(|_| SYLLABLES[self.below(SYLLABLES.len())])
            .collect()
    }

    pub fn sentence(&mut self) -> String {
        let words: Vec<_> = (0..3 + self.below(9)).map(|_| self.word()).collect();
        words.join(" ")
    }
}

/// Lines of "number word word ...", in no order.
pub fn lines(count: usize) -> String {
    let mut numbers = Numbers::new(1);
    let mut text = String::new();
    for _ in 0..count {
        let number = numbers.below(10_000_000);
        let (first, second) = (numbers.word(), numbers.word());
        writeln!(text, "{number} {first} {second}").unwrap();
    }
    text
}

/// A C program of many functions that call each other, with loops, switches,
/// structures and floating point: some seconds of work for an optimiser.
pub fn c_program(functions: usize) -> String {
    let mut numbers = Numbers::new(2);
    let mut c = String::from(
        "#include <stdio.h>\n#include <string.h>\n\
         struct node { long key; double weight; struct node *next; unsigned char bytes[24]; };\n\
         static long f0(long x, struct node *n) { return x + n->key; }\n",
    );
    for f in 1..functions {
        let (a, b, m) = (numbers.below(f), numbers.below(f), 3 + numbers.below(29));
        writeln!(
            c,
            "static long f{f}(long x, struct node *n)\n{{\n    long sum = x;"
        )
        .unwrap();
        match numbers.below(4) {
            0 => writeln!(
                c,
                "    for (int i = 0; i < {m}; i++) {{\n        n->bytes[i % 24] ^= (unsigned char)(x >> (i & 7));\n        \
                 sum += n->bytes[(i * {a}) % 24];\n    }}"
            ),
            1 => {
                writeln!(c, "    switch ((unsigned long)x % {m}) {{").unwrap();
                for case in 0..m {
                    let shift = numbers.below(13);
                    writeln!(c, "    case {case}: sum = (sum << {shift}) ^ {}; break;", numbers.below(1000)).unwrap();
                }
                writeln!(c, "    }}")
            }
            2 => writeln!(
                c,
                "    for (struct node *p = n; p; p = p->next)\n        p->weight = p->weight * 0.{m} + (double)(sum & 255);\n    \
                 sum += (long)n->weight;"
            ),
            _ => writeln!(
                c,
                "    struct node copy = *n;\n    copy.next = n;\n    memmove(copy.bytes, copy.bytes + {}, 8);\n    \
                 sum ^= (long)copy.bytes[{}];",
                numbers.below(16),
                numbers.below(24)
            ),
        }
        .unwrap();
        // Calls go at most four deep, so that the program ends soon.
        if f % 5 != 0 {
            writeln!(c, "    if (sum & 1) sum += f{}(sum >> 1, n);", a - a % 5).unwrap();
        }
        writeln!(c, "    return sum % 1000003 + {b};\n}}").unwrap();
    }
    writeln!(
        c,
        "int main(void)\n{{\n    struct node tail = {{1, 0.5, 0, {{0}}}}, head = {{2, 0.25, &tail, {{1}}}};\n    long sum = 0;"
    )
    .unwrap();
    for f in 0..functions {
        writeln!(c, "    sum += f{f}(sum, &head);").unwrap();
    }
    c + "    printf(\"%ld\\n\", sum);\n    return 0;\n}\n"
}

/// A stream for `git fast-import`: `commits` commits on `main`, every tenth of
/// them merged from a branch of its own, over `files` growing text files.
pub fn git_history(commits: usize, files: usize) -> String {
    let mut numbers = Numbers::new(3);
    let mut contents: Vec<Vec<String>> = (0..files).map(|_| vec![numbers.sentence()]).collect();
    let mut stream = String::new();
    for commit in 0..commits {
        let side = commit % 10 == 8;
        let branch = if side {
            format!("side-{commit}")
        } else {
            "main".to_string()
        };
        let message = numbers.sentence();
        writeln!(stream, "commit refs/heads/{branch}\nmark :{}", commit + 1).unwrap();
        writeln!(
            stream,
            "committer A U Thor <author@example.com> {} +0000",
            1_600_000_000 + commit * 600
        )
        .unwrap();
        writeln!(stream, "data {}\n{message}", message.len()).unwrap();
        if side {
            writeln!(stream, "from :{commit}").unwrap();
        } else if commit % 10 == 9 {
            writeln!(stream, "from :{}\nmerge :{commit}", commit - 1).unwrap();
        }
        for _ in 0..4 {
            let file = numbers.below(files);
            for _ in 0..1 + numbers.below(12) {
                let at = numbers.below(contents[file].len() + 1);
                let line = numbers.sentence();
                if numbers.below(3) == 0 && at < contents[file].len() {
                    contents[file][at] = line;
                } else {
                    contents[file].insert(at, line);
                }
            }
            let text = contents[file].join("\n") + "\n";
            writeln!(
                stream,
                "M 100644 inline part-{}/file-{file}.txt\ndata {}\n{text}",
                file % 7,
                text.len()
            )
            .unwrap();
        }
        stream.push('\n');
    }
    stream
}
