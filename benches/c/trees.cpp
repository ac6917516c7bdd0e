/* A C++ program of trees and strings: binary trees that come and go beside one that stays, and a dictionary of lists of lines.
 *
 * After GCBench (Boehm), and the string-heavy programs of the literature (espresso, perl).
 * What must hold: every node of a tree and every line of the dictionary is counted and compared when it is dropped. */

#include "bench.h"

#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace {

constexpr unsigned LONG_LIVED_DEPTH = 15, SHALLOWEST = 4, DEEPEST = 12;
/* A list that reaches MOST_LINES is dropped with its word. */
constexpr uint32_t WORDS = 10000, LINES = 10000, MOST_LINES = 8;

struct Node {
    uint32_t label;
    std::unique_ptr<Node> left, right;
};

/* Labels from `next` on, in the order in which the tree is read. */
std::unique_ptr<Node> grow(unsigned depth, uint32_t &next)
{
    auto node = std::make_unique<Node>();

    if (depth > 0)
        node->left = grow(depth - 1, next);
    node->label = next++;
    if (depth > 0)
        node->right = grow(depth - 1, next);
    return node;
}

void compare(const Node *node, uint32_t &next)
{
    if (node == nullptr)
        return;
    compare(node->left.get(), next);
    if (node->label != next++)
        fail("node %u of a tree has the label %u", next - 1, node->label);
    compare(node->right.get(), next);
}

/* Compares and drops a tree of this depth that was grown with labels from `first` on. */
void drop_tree(std::unique_ptr<Node> tree, unsigned depth, uint32_t first)
{
    uint32_t next = first;

    compare(tree.get(), next);
    if (next - first != (2u << depth) - 1)
        fail("a tree of depth %u has %u nodes", depth, next - first);
}

/* About the same number of nodes at each depth. */
void grow_and_drop(uint32_t first)
{
    for (unsigned depth = SHALLOWEST; depth <= DEEPEST; depth += 2) {
        for (unsigned i = 0; i < 1u << (DEEPEST - depth); i++) {
            uint32_t next = first + i;

            drop_tree(grow(depth, next), depth, first + i);
        }
    }
}

using Dictionary = std::map<std::string, std::vector<std::string>>;

void drop_word(Dictionary &dictionary, Dictionary::iterator entry)
{
    for (size_t i = 0; i < entry->second.size(); i++)
        if (entry->second[i] != entry->first + ", seen once more: " + std::to_string(i))
            fail("line %zu of %s is: %s", i, entry->first.c_str(), entry->second[i].c_str());
    dictionary.erase(entry);
}

/* Most words are short enough for the string itself, their lines are not. */
void write_line(thread *self, Dictionary &dictionary)
{
    uint32_t number = draw(self, 0, WORDS - 1);
    std::string word = (number % 4 == 0 ? "a rather long word " : "word ") + std::to_string(number);
    auto entry = dictionary.try_emplace(word).first;

    entry->second.push_back(word + ", seen once more: " + std::to_string(entry->second.size()));
    if (entry->second.size() == MOST_LINES)
        drop_word(dictionary, entry);
}

void work(thread *self)
{
    uint32_t next = self->number;
    auto long_lived = grow(LONG_LIVED_DEPTH, next);
    Dictionary dictionary;

    for (uint64_t i = 0; i < self->rounds; i++) {
        grow_and_drop(static_cast<uint32_t>(i));
        for (uint32_t j = 0; j < LINES; j++)
            write_line(self, dictionary);
    }
    while (!dictionary.empty())
        drop_word(dictionary, dictionary.begin());
    drop_tree(std::move(long_lived), LONG_LIVED_DEPTH, self->number);
}

} // namespace

int main(int argc, char **argv)
{
    std::set_new_handler([] { fail("no memory"); });
    run(read_arguments(argc, argv), nullptr, work);
    return 0;
}
