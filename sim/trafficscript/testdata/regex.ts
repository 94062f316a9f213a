# what needs backtracking
import test;
test.eq(string.regexmatch("abab", '^(ab)\1$'), 1); test.eq($1, "ab"); test.eq(string.regexmatch("10.0.0.1", '^(?!10\.)'), 0); test.eq(string.regexmatch("11.0.0.1", '^(?!10\.)(\d+)'), 1); test.eq($1, 11);
test.eq(string.regexsub("price 10 EUR, 20 EUR", '\d+(?= EUR)', "<$1>", "g"), "price <> EUR, <> EUR"); test.eq(string.regexsub("aXbX", '(?<=b)X', "-"), "aXb-");
test.eq(string.regexmatch("AbaB", '^(ab)\1$', "i"), 1); test.eq(string.regexmatch("AbaB", '^(ab)\1$'), 0); test.eq(string.regexmatch("AbAb", '^(ab)\1$', "i"), 1);
test.eq(string.regexmatch("aaa", "^a++a"), 0); test.eq(string.regexmatch("k=v", '(?<key>\w+)=(?P<value>\w+)'), 1); test.eq($1 . $2, "kv");
test.eq(array.filter(["ab", "aa"], '(.)\1'), ["aa"]); test.eq(array.filter(["ab", "aa"], '(.)\1', "!"), ["ab"]);
---
# $ matches before a final newline, and \z does not
import test;
test.eq(string.regexmatch("a\n", "^a$"), 1); test.eq(string.regexmatch("a\n\n", "^a$"), 0); test.eq(string.regexmatch("a\n", '^a\z'), 0); test.eq(string.regexsub("a\n", "$", "!"), "a!\n"); test.eq(string.regexsub("a\n", "$", "!", "g"), "a!\n!");
test.eq(string.regexmatch("\xe9\n", "^\xe9$"), 1); test.eq(string.regexsub("\xe9b\xe9", '(\xe9)b\1', "-"), "-");
---
# all matches: an empty one does not follow another match directly
import test;
test.eq(string.regexsub("abc", "x*", "-", "g"), "-a-b-c-"); test.eq(string.regexsub("abc", '(?=.)x*', "-", "g"), "-a-b-c"); test.eq(string.regexsub("baaac", 'a*', "-", "g"), "-b-c-"); test.eq(string.regexsub("baaac", '(?<!z)a*', "-", "g"), "-b-c-"); test.eq(string.regexsub("aab", 'a\K', "-", "g"), "a-a-b");
---
# a match that would take too long ends the rule
$s = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
string.regexmatch($s, '^(a+)+\1$'); ### abort: took more than 10000000 steps \(trafficscript!regex_match_limit\)
---
# a long one is told
$s = "aaaaaaaaaaaaaaaaab";
string.regexmatch($s, '^(a|a)+(?=c)'); ### run: took \d+ steps, more than 5% of trafficscript!regex_match_limit
