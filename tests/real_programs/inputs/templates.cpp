// A source that is heavy on templates: much work for the compiler, little when
// it runs. What it prints must not depend on the malloc.

#include <algorithm>
#include <array>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <regex>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <unsigned N> struct fibonacci {
    static constexpr unsigned long value = fibonacci<N - 1>::value + fibonacci<N - 2>::value;
};
template <> struct fibonacci<1> { static constexpr unsigned long value = 1; };
template <> struct fibonacci<0> { static constexpr unsigned long value = 0; };

template <std::size_t Size> struct block {
    std::array<unsigned char, Size> bytes;
    explicit block(unsigned seed) {
        std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(seed));
    }
    unsigned long sum() const { return std::accumulate(bytes.begin(), bytes.end(), 0UL); }
};

template <typename... Kinds> struct many {
    using any = std::variant<std::shared_ptr<Kinds>...>;
    std::map<std::string, std::vector<any>> by_name;

    template <typename Kind> void add(const std::string &name, unsigned seed) {
        by_name[name].emplace_back(std::make_shared<Kind>(seed));
    }

    unsigned long sum() const {
        unsigned long total = 0;
        for (const auto &[name, list] : by_name)
            for (const auto &one : list)
                total += name.size() + std::visit([](const auto &kind) { return kind->sum(); }, one);
        return total;
    }
};

template <typename Sequence> struct blocks;
template <std::size_t... Sizes> struct blocks<std::index_sequence<Sizes...>> {
    many<block<Sizes + 1>...> all;
    blocks() {
        (all.template add<block<Sizes + 1>>("size " + std::to_string(Sizes % 7), Sizes), ...);
    }
};

template <typename Tuple, std::size_t... I>
static std::string joined(const Tuple &tuple, std::index_sequence<I...>)
{
    std::string text;
    ((text += std::to_string(std::get<I>(tuple)) + ','), ...);
    return text;
}

template <std::size_t N> static auto counted()
{
    if constexpr (N == 0)
        return std::tuple<>();
    else
        return std::tuple_cat(counted<N - 1>(), std::make_tuple(N));
}

int main()
{
    std::cout << fibonacci<90>::value << '\n';
    std::cout << blocks<std::make_index_sequence<10>>().all.sum() << '\n';
    std::cout << joined(counted<30>(), std::make_index_sequence<30>()) << '\n';

    std::unordered_map<std::string, std::function<std::optional<std::string>(const std::string &)>> rules;
    const std::regex words("([a-z]+)-([0-9]+)", std::regex::icase);
    rules["swap"] = [&](const std::string &text) -> std::optional<std::string> {
        return std::regex_replace(text, words, "$2-$1");
    };
    rules["none"] = [](const std::string &) { return std::nullopt; };
    rules["sorted"] = [](std::string text) -> std::optional<std::string> {
        std::sort(text.begin(), text.end());
        return text;
    };
    for (const char *name : {"swap", "none", "sorted"})
        std::cout << name << ' ' << rules.at(name)("pool-16 arena-64 block-512").value_or("(none)") << '\n';
}
