# conversions, as the vendor's table shows them
import test;
test.eq(lang.toInt(3.25), 3); test.eq(lang.toInt(3.75), 4); test.eq(lang.toInt("3.75"), 4);
test.eq(lang.toInt("14str"), 14); test.eq(lang.toDouble("14str"), 14);
test.eq(lang.toInt("3.2.7"), 3); test.eq(lang.toDouble("3.2.7"), 3.2);
test.eq(lang.toInt("abcde"), 0); test.eq(lang.toDouble("abcde"), 0);
test.eq(lang.toInt(" -7"), -7); test.eq(lang.toInt("-"), 0); test.eq(lang.toInt(""), 0);
test.eq(lang.toInt(2.5), 3); test.eq(lang.toInt(-2.5), -3); test.eq(lang.toInt("1e3"), 1000);
test.eq(lang.toInt(1e300), "9223372036854775807"); test.eq(lang.toInt(-1e300), "-9223372036854775808");
test.eq(lang.toInt(math.sqrt(-1)), 0);
test.eq(9223372036854775807 + 1, "-9223372036854775808");
---
# printing of doubles
import test;
test.eq(3.0, "3"); test.eq(75.0 . "%", "75%"); test.eq(0.1 + 0.2, "0.3"); test.eq(1/3, "0.333333333333333");
test.eq(math.sqrt(-1), "nan"); test.eq(math.exp(1000), "inf"); test.eq(0 - math.exp(1000), "-inf");
test.eq(100000.0, "100000"); test.eq(123456789012.5, "123456789012.5"); test.eq(1e15, "1e+15");
test.eq(lang.toString(1.25), "1.25");
---
# truth
import test;
test.eq(!"0", 0); test.eq(!"", 1); test.eq(!0, 1); test.eq(!0.0, 1); test.eq(!-1, 0);
test.eq(![], 1); test.eq(![0], 0); test.eq(!$unset, 1); test.eq(!["k" => 0], 0);
---
# mixed comparison
import test;
lang.assert("abc" == 0, "a string against an integer");
lang.assert("9" > "10", "two strings");
lang.assert(9 < "10", "an integer and a string");
lang.assert("3.75" == 4, "the string is rounded");
lang.assert("3.75" != 4.0, "but not against a double");
lang.assert("a" < "b" && "a" <= "a" && "b" >= "a" && !("a" > "a"), "order of strings");
lang.assert(1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2, "order of numbers");
lang.assert(math.sqrt(-1) != math.sqrt(-1) && !(math.sqrt(-1) <= 1), "nan is unordered");
test.eq(lang.max(2, "4.8"), 4.8); test.eq(lang.min(2, "4.8"), 2); test.eq(max("9", "10"), 9); test.eq(min("9", "10"), 10);
test.eq(lang.max(1, 2), 2); test.eq("4" + "0.8", 4.8); test.eq("4" * "2", 8);
---
# short circuit gives 1 or 0
import test;
sub touch() { $1 = $1 . "x"; return 5; }
$1 = "";
test.eq(0 && touch(), 0); test.eq(1 || touch(), 1); test.eq($1, "");
test.eq(7 && touch(), 1); test.eq("" || touch(), 1); test.eq($1, "xx");
---
# arrays and hashes: reading and growing
import test;
$a = [10, 20]; test.eq($a[1], 20); test.eq($a[2], ""); test.eq($a[-1], ""); test.eq($a["1"], 20); test.eq($a[0.6], 20);
$a[3] = 40; test.eq(array.length($a), 4); test.eq($a[2], "");
$h["x"]["y"][2] = "deep"; test.eq($h["x"]["y"][2], "deep"); test.eq(array.length($h["x"]["y"]), 3);
$g = ["x" => 1]; $g[404] = 2; test.eq($g["404"], 2); test.eq($unset["k"], "");
$a[-1] = 1; ### run: Array index -1 is out of range
---
# assignment copies, in both directions and at each depth
import test;
$a = [[1], ["k" => [2]]]; $b = $a; $b[0][0] = 9; $b[1]["k"][0] = 8; $a[0][1] = 7;
test.eq($a, [[1, 7], ["k" => [2]]]); test.eq($b, [[9], ["k" => [8]]]);
sub constant() { return ["list" => [1]]; }
$c = constant(); array.push($c["list"], 2); test.eq(constant(), ["list" => [1]]); test.eq($c, ["list" => [1, 2]]);
sub inner($h) { return $h["list"]; }
array.push(inner(constant()), 3); test.eq(constant(), ["list" => [1]]);
$d = ["list" => [1]]; $e = $d; array.push(inner($e), 3); test.eq($d, ["list" => [1]]);
foreach ($x in $a) { if (lang.isArray($x)) array.push($x, 1); array.push($a, 0); } test.eq(array.length($a), 4); test.eq($a[0], [1, 7]);
$a = [1]; array.push($a, $a); test.eq($a, [1, [1]]);
sub copying($h) { $1 = $h; return "k"; }
$p = ["x" => ["k" => 1]]; $p["x"][copying($p)] = 2; test.eq($1, ["x" => ["k" => 1]]); $p["x"]["k"] .= copying($p); test.eq($1["x"]["k"], 2); test.eq($p["x"]["k"], "2k"); $p["x"][copying($p)]++; test.eq($1["x"]["k"], "2k");
$l = [1]; $l = array.push($l, 2); $l = array.push($l, 3); test.eq($l, [1, 2, 3]);
---
# misuse warns, gives 0, and the rule goes on
import test;
$a = [1]; $h = ["k" => 1];
test.eq("x" . $a, "x0");        ### run: WARNING: Rule r: Line \d+: Cannot convert array to string value
test.eq(1 + $h, 1);             ### run: Cannot convert hash to number value
test.eq($a == 0, 1);            ### run: Cannot convert array to integer value
foreach ($x in "text") { lang.assert(0, "unreached"); } ### run: Cannot convert string to array value
$s = "text"; $s[0] = "T"; test.eq($s, "text"); ### run: Cannot convert string to array value
test.eq($s[0], "");             ### run: Cannot convert string to array value
array.push($s, 1);              ### run: Cannot convert string to array value
hash.keys([1]);                 ### run: Cannot convert array to hash value
test.eq(1 / 0, 0);              ### run: Division by zero
test.eq(1 % 0, 0);              ### run: Division by zero
lang.warn("careful");           ### run: careful
$re = "("; string.regexmatch("a", $re); ### run: is no regular expression
---
# import strict makes misuse the end
import strict;
$a = [1];
$s = "x" . $a; ### abort: Rule r: Line \d+: Cannot convert array to string value
lang.assert(0, "unreached");
---
lang.assert(0, "told"); ### abort: Assertion failed: told
---
$re = "(?1)"; string.regexmatch("aa", $re); ### abort: not emulated: a call of a group
---
# limits
while (1) $i++; ### abort: used more than 100000 instructions
---
sub f($n) { return f($n + 1); } ### abort: nested more than 200 deep
f(0);
---
$s = "x"; while (1) $s .= $s; ### abort: made values of more than 67108864 bytes
---
$a[100000000] = 1; ### abort: made values of more than
---
$a[9223372036854775807] = 1; ### abort: made values of more than
---
$s = string.sprintf("%65536d", 1); while (1) $s = string.replaceAll($s, " ", $s); ### abort: made values of more than
---
# a library
# library tools
---
# library tools
sub name() { return "tools"; }
sub deep.name() { return helper(); }
sub helper() { return name() . "!"; }
sub fails($x) { return 1 + $x; }
---
# library more stuff
import tools as t;
sub both() { return t.name() . "more"; }
$stray = 1; ### warning: statements outside of subs do not run in a rule library
---
# imports by name and alias, of a library by a library
import test;
import tools; import tools as T2;
test.eq(tools.name(), "tools"); test.eq(T2.deep.name(), "tools!"); test.eq(t2.NAME(), "tools");
---
import missing; ### rule library 'missing' is missing: upload a rule of this name first
---
import tools;
tools.nosuch(); ### rule library 'tools' has no sub 'nosuch'
---
import "more stuff" as m; import test;
test.eq(m.both(), "toolsmore");
---
# library ring
import ring; sub f() { } ### rule library 'ring' cannot be imported: it imports itself
---
import ring;
---
# library broken
sub f( { } ### expected a parameter such as '\$a' before '{'
---
import broken; ### rule library 'broken' has errors
