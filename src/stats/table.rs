//! The table of `malloc_stats`, for people: in the spirit of CPython's `sys._debugmallocstats()`.

use super::count::Counted;
use crate::geometry::SLOT_SIZE;
use crate::report::Text;
use crate::size_class::TABLE;

/// Columns that a number of the whole takes.
const WIDTH: usize = 15;
/// Columns that a number of a size class takes, but for the first two.
const CLASS_WIDTH: usize = 10;

fn write_line(text: &mut Text, value: usize, meaning: &[u8]) {
    text.number_in(value, WIDTH).text("  ").bytes(meaning);
    text.end_line();
}

/// `part` of `whole` in percent.
fn percent(part: usize, whole: usize) -> usize {
    // Neither is near 2^64 / 100.
    part * 100 / whole.max(1)
}

impl Counted {
    /// Writes a table of the size classes, and the figures of the whole.
    #[inline(never)]
    pub fn write_table(&self, text: &mut Text) {
        text.text("pymalloc: statistics").end_line();
        text.text("class   size     pools    in use      free untouched   bytes in use  used")
            .end_line();
        let (mut all_used, mut all_pools) = (0, 0);
        self.each_row(&mut |row| {
            let [class, size, pools, in_use, ..] = *row;
            text.number_in(class, 5).number_in(size, 7);
            for number in &row[2..] {
                text.number_in(*number, CLASS_WIDTH);
            }
            let used = in_use * size;
            let whole = TABLE[class].slots as usize * SLOT_SIZE * pools;
            all_used += used;
            all_pools += whole;
            text.number_in(used, WIDTH);
            text.number_in(percent(used, whole), 4).text(" %");
            text.end_line();
        });
        write_line(text, all_pools, b"bytes of pools");
        write_line(text, all_used, b"bytes in use in pools");
        write_line(text, percent(all_used, all_pools), b"% of the pools in use");
        self.whole.each(&mut |figure| {
            if figure.is_known() {
                write_line(text, figure.value, figure.meaning);
            }
        });
        text.flush();
    }
}
