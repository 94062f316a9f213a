# comments, both quotings, numbers
import test;
test.eq('^192\.168\.', "^192\\.168\\.");
test.eq("a\n\r\t\"\\", lang.chr(97) . chr(10) . chr(13) . chr(9) . chr(34) . chr(92));
test.eq("\201\x41\u00e9\0", string.hexdecode("8141c3a900"));
test.eq("joined \
line", "joined line");
test.eq('joined \
line', "joined line");
test.eq('raw
line', "raw\nline");
test.eq('\', chr(92));
test.eq(0x2c, 44); test.eq(1e3, 1000); test.eq(1.50, "1.5"); test.eq(1.5e-3, "0.0015");
test.eq(99999999999999999999, "1e+20");
test.eq(true . false, "10");
---
# precedence and associativity
import test;
test.eq(1 + 2 * 3, 7);
test.eq(1 + 1/2 + 0.25, 1.75);
test.eq(3 % 7, 3);
test.eq(-7 % 3, -1);
test.eq("a" . 1 + 2, 2);
test.eq(1 . 2 . 3, "123");
test.eq(10 - 3 - 2, 5);
test.eq(1 << 2 + 1, 8);
test.eq(1 < 2 == 1, 1);
test.eq(6 & 3 | 8 ^ 1, 11);
test.eq(1 || 0 && 0, 1);
test.eq(!1 == 0, 1);
test.eq(-2 * -3, 6);
test.eq(~0, -1);
test.eq(1 ? 2 : 3, 2);
test.eq(0 ? 1 : 0 ? 2 : 3, 3);
test.eq(8 >> 1, 4); test.eq(1 << 64, 0); test.eq(-8 >> 70, -1);
---
# assignment is an expression that takes all that follows
import test;
$f = "host:80";
$ok = $f && $host = string.extractHost($f);
test.eq($host, "host"); test.eq($ok, 1);
if (!$port = string.extractPort($f)) { lang.assert(0, "unreached"); }
test.eq($port, 80);
$a = $b = 3; test.eq($a + $b, 6);
$a += 2; $a -= 1; $a *= 6; $a /= 4; test.eq($a, 6);
$a %= 4; test.eq($a, 2); $a .= "x"; test.eq($a, "2x");
$n = 6; $n &= 3; $n |= 8; $n ^= 1; test.eq($n, 11); $n <<= 2; $n >>= 1; test.eq($n, 22);
test.eq($n++ . $n, "2223"); test.eq(++$n, 24); test.eq($n-- - 1, 23); test.eq(--$n, 22);
$h["k"] .= "v"; $h["n"]++; $h["n"] += 4; test.eq($h["k"] . $h["n"], "v5");
---
# control flow
import test;
for ($i = 0; $i < 10; $i++) { if ($i == 3) continue; if ($i == 6) break; $s .= $i; }
test.eq($s, "01245");
while (1) { if ($w++ > 4) break; } test.eq($w, 6);
do { $d++; } while ($d < 3); test.eq($d, 3);
do $e++; while (0); test.eq($e, 1);
for (;;) break;
foreach ($x in ["a", "b", "c"]) { if ($x == "b") continue; $t .= $x; } test.eq($t, "ac");
foreach ($k in ["y" => 2, "x" => 1]) $keys .= $k;
test.eq($keys, "xy");
if (0) $z = 1; else if (0) $z = 2;
# a comment between
else $z = 3;
test.eq($z, 3);
;
{ $block = 1; } test.eq($block, 1);
---
# switch runs one case and only it
import test;
sub pick($v) { switch ($v) { case "a", "b": return 1; case "c": return 2; default: return 9; } }
test.eq(pick("a") . pick("b") . pick("c") . pick("z"), "1129");
sub num($v) { switch ($v) { case 1: return "one"; case "2": return "two"; case 3.5: return "half"; } return "none"; }
test.eq(num("1") . num(2) . num(3.5) . num("x"), "onetwohalfnone");
switch (string.append("/im", "g/x"), string.startsWith) { case "/css": $r = 1; case "/img", "/js": $r = 2; break; $r = 3; }
test.eq($r, 2);
sub longer($a, $b) { return string.len($a) > string.len($b); }
switch ("abc", longer) { case "abcd": $l = 1; case "ab": $l = 2; default: $l = 3; }
test.eq($l, 2);
switch ("1") { case "01": $o = 1; default: $o = 2; } test.eq($o, 2);
switch (1) { case "01": $o = 3; default: $o = 4; } test.eq($o, 3);
for ($i = 0; $i < 3; $i++) { switch ($i) { case 1: continue; default: break; } $c .= $i; }
test.eq($c, "02");
---
# subs: before and after use, locals, references, captures, recursion
import test;
test.eq(double(4), 8);
sub double($n) { $hidden = 1; return $n * 2; }
test.eq($hidden, "");
sub set.empty($s) { hash.empty($s); $s = ["new" => 1]; }
$h = ["a" => 1]; set.empty($h); test.eq(hash.count($h), 0);
sub fill($a) { $a[0] = "seen"; array.push($a, 2); }
$l = [1]; fill($l); test.eq($l, ["seen", 2]);
$n = [[1], [2]]; $m = $n; fill($n[1]); test.eq($n, [[1], ["seen", 2]]); test.eq($m, [[1], [2]]);
sub two($s) { $1 = "x"; $2 = $s; }
two("y"); test.eq($1 . $2, "xy");
sub fact($n) { if ($n < 2) return 1; return $n * FACT($n - 1); }
test.eq(fact(20), "2432902008176640000");
sub none() { } test.eq(none(), "");
sub early() { while (1) { foreach ($x in [1]) { return "out"; } } } test.eq(early(), "out");
---
# break outside of a loop ends the rule
if (1) break;
lang.assert(0, "unreached");
---
# in a sub too
sub stop() { break; }
stop();
lang.assert(0, "unreached");
---
# return ends the rule
return;
lang.assert(0, "unreached");
---
# literals and trailing commas
import test;
test.eq([1, "a", [2,],], ["1" . "" + 0, "a", [2]]);
test.eq(lang.dump([]), "[ ]");
test.eq(lang.dump(["k" => 1, 2 => [3.5]]), '[ "2" => [ 3.5 ], "k" => 1 ]');
$k = "key"; $h = [$k => $k . 1]; test.eq($h["key"], "key1");
test.eq([5, 6][1], 6);
---
# errors of syntax
$a = 1
if ($a) $b = 2; ### expected ';' before 'if'
---
http.getHeader "x"; ### expected '\(' after the function name 'http.getHeader' before a string
---
if $a { } ### expected '\(' before '\$a'
---
$a = "never closed; ### the string that begins here is never closed
---
$a = 'never closed; ### the string that begins here is never closed
---
while (1) {
$a = 1; ### expected '}' before the end of the rule: the block of line
---
$x = 1 +; ### expected an expression before ';'
---
$x = @; ### unexpected character '@'
---
$x = 12ab; ### '12ab' is no number
---
$x = 0xzz; ### '0xzz' is no hexadecimal number
---
$ = 1; ### expected a variable name after '\$'
---
$10 = 1; ### '\$10' is no variable
---
"a" = 1; ### '=' needs a variable
---
f()++; ### '\+\+' needs a variable
---
else { } ### 'else' without 'if'
---
if (1) { sub f() { } } ### 'sub' must stand outside of all blocks
---
case 1: ### 'case' outside of 'switch'
---
switch (1) { default: $a = 1; case 2: $b = 1; } ### 'case' after 'default'
---
switch (1) { $a = 1; } ### expected 'case', 'default' or '}' before '\$a'
---
sub f($a, $a) { } ### parameter '\$a' stands here twice
---
sub f($1) { } ### '\$1' is a capture
---
$a = ["x" => 1, 2]; ### expected '=>' before ']'
---
$a = [1, "x" => 2]; ### '=>' in an array
---
foreach (x in [1]) { } ### expected a variable such as '\$v' before 'x'
---
import ; ### expected the name of a rule library before ';'
---
$a = "\q"; ### warning: unknown escape '\\q' is 'q'
lang.assert($a == "q", "kept the character");
---
# errors of meaning: all of them are told
nosuch(1); ### unknown function nosuch
http.getHeadr("x"); ### unknown function http.getHeadr: did you mean http.getHeader\?
sip.getMethod("1.2.3.4"); ### function sip.getMethod is not emulated
http.getHeader(); ### function http.getHeader takes 1 argument, not 0: http.getHeader\(name\)
string.split(1, 2, 3); ### takes 1 to 2 arguments, not 3
string.sprintf(); ### takes at least 1 argument, not 0
continue; ### 'continue' outside of a loop
$p = "web"; pool.use($p); ### pool.use needs the name of a pool as a literal string
sub f($a) { } f(); ### sub f takes 1 argument, not 0
sub f() { } ### sub 'f' is declared twice
sub http.getPath() { } ### has the name of a built-in function
lib.f(); ### unknown function lib.f
string.regexmatch("a", "(?R)"); ### not emulated: recursion, at offset 3 of the regular expression
string.regexmatch("a", "a("); ### is no regular expression
connection.getRemoteIP(); ### warning: function connection.getRemoteIP is deprecated: use request.getRemoteIP
