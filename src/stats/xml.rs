//! The XML document of `malloc_info`: an element a size class, then an element a figure.

use super::count::Counted;
use super::figures;
use crate::report::Text;

impl Counted {
    /// Writes an XML document.
    pub fn write_xml(&self, text: &mut Text) {
        text.text("<malloc version=\"pymalloc-1\">").end_line();
        self.each_row(&mut |row| {
            text.text("<size_class");
            figures::each_of(row, &mut |name, value| {
                text.text(" ").bytes(name).text("=\"");
                text.number(value).text("\"");
            });
            text.text("/>").end_line();
        });
        self.whole.each(&mut |figure| {
            if !figure.is_known() {
                return;
            }
            let tag = |text: &mut Text| {
                text.bytes(figure.group);
                if !figure.group.is_empty() {
                    text.text("_");
                }
                text.bytes(figure.name).text(">");
            };
            tag(text.text("<"));
            tag(text.number(figure.value).text("</"));
            text.end_line();
        });
        text.text("</malloc>").end_line();
    }
}
