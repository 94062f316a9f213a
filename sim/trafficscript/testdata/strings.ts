# looking and cutting
import test;
test.eq(string.append("a", 1, "c"), "a1c"); test.eq(string.cmp("a", "b"), -1); test.eq(string.cmp("b", "a"), 1); test.eq(string.icmp("A", "a"), 0);
test.eq(string.contains("haystack", "st"), 1); test.eq(string.contains("haystack", "ST"), 0); test.eq(string.containsI("haystack", "ST"), 1);
test.eq(string.startsWith("abc", "ab"), 1); test.eq(string.startsWithI("abc", "AB"), 1); test.eq(string.startsWith("abc", "b"), 0);
test.eq(string.endsWith("abc", "bc"), 1); test.eq(string.endsWithI("abc", "BC"), 1); test.eq(string.endsWith("abc", "b"), 0);
test.eq(string.wildmatch("/a/b.jpg", "/*.j?g"), 1); test.eq(string.wildmatch("/a/b.jpeg", "/*.j?g"), 0); test.eq(string.wildmatch("", "*"), 1); test.eq(string.wildmatch("a", ""), 0);
test.eq(string.count("banana", "an"), 2); test.eq(string.count("banana", "an", 2), 1); test.eq(string.count("a", ""), 0);
test.eq(string.find("banana", "an"), 1); test.eq(string.find("banana", "an", 2), 3); test.eq(string.find("banana", "x"), -1); test.eq(string.find("banana", "a", 99), -1); test.eq(string.findI("bANana", "aN"), 1);
test.eq(string.findr("banana", "an"), 3); test.eq(string.findr("banana", "an", 2), 1); test.eq(string.findr("banana", "x"), -1);
test.eq(string.len("\xe9\xe9"), 2); test.eq(string.length(123), 3);
test.eq(string.left("abcd", 3), "abc"); test.eq(string.right("abcd", 3), "bcd"); test.eq(string.skip("abcd", 3), "d"); test.eq(string.drop("abcd", 3), "a");
test.eq(string.left("abcd", 9), "abcd"); test.eq(string.left("abcd", -1), ""); test.eq(string.skip("abcd", 9), "");
test.eq(string.substring("abcdef", 1, 3), "bcd"); test.eq(string.substring("abcdef", 4, 99), "ef"); test.eq(string.substring("abcdef", 3, 2), ""); test.eq(string.substring("abc", 0, 9223372036854775807), "abc"); test.eq(string.substring("abc", 0, -1), "");
test.eq(string.insertbytes("abcd", "XY", 2), "abXYcd"); test.eq(string.replaceBytes("abcd", "XY", 1), "aXYd"); test.eq(string.replaceBytes("abcd", "XY", 3), "abcXY");
test.eq(string.lowercase("AbC\xc9"), "abc\xc9"); test.eq(string.uppercase("aBc\xe9"), "ABC\xe9"); test.eq(string.trim(" \t a b \r\n"), "a b"); test.eq(string.reverse("abc"), "cba");
test.eq(string.split("a b  c"), ["a", "b", "", "c"]); test.eq(string.split("a,b", ","), ["a", "b"]); test.eq(string.split("abc", ""), ["a", "b", "c"]); test.eq(string.split(""), []);
test.eq(string.replace("aXbX", "X", "-"), "a-bX"); test.eq(string.replaceAll("aXbX", "X", "--"), "a--b--"); test.eq(string.replaceI("axbX", "X", "-"), "a-bX"); test.eq(string.replaceAllI("axbX", "X", ""), "ab"); test.eq(string.replace("ab", "", "-"), "ab");
test.eq(string.ireplace("aX", "x", "y"), "ay"); ### warning: deprecated: use string.replaceI
test.eq(string.IreplaceAll("aXx", "x", "y"), "ayy"); ### warning: deprecated: use string.replaceAllI
---
# sprintf
import test;
test.eq(string.sprintf("%s|%5s|%-5s|%.2s", "a", "b", "c", "defg"), "a|    b|c    |de");
test.eq(string.sprintf("%d|%5d|%05d|%-4d|%+d", 1, 2, 3, 4, 5), "1|    2|00003|4   |+5");
test.eq(string.sprintf("%f|%.2f|%8.3f|%e|%g", 1.5, 2.345, 3.14159, 1500, 0.0001), "1.500000|2.35|   3.142|1.500000e+03|0.0001");
test.eq(string.sprintf("%c%c|%x|%X|%o|%u|%%", 65, "Bcd", 255, 255, 8, 7), "AB|ff|FF|10|7|%");
test.eq(string.sprintf("%s %d", "only"), "only 0"); test.eq(string.sprintf("100%"), "100%"); test.eq(string.sprintf("%ld", 5), "5");
string.sprintf("%q", 1);        ### run: unknown directive '%q'
string.sprintf("%99999999d", 1); ### run: a width above
---
# encodings and digests
import test;
test.eq(string.base64encode("hello"), "aGVsbG8="); test.eq(string.base64decode("aGVs\nbG8"), "hello"); test.eq(string.base64decode("!"), "");
test.eq(string.hexencode("\x00\xffA"), "00FF41"); test.eq(string.hexdecode("00FF41"), "\x00\xffA"); test.eq(string.hexdecode("41zz"), "A");
test.eq(string.htmlencode("<a href=\"x\">'&'"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;"); test.eq(string.htmldecode("&lt;&amp;&#65;"), "<&A");
test.eq(string.urlencode("a b/c?~\xe9"), "a%20b%2Fc%3F~%E9"); test.eq(string.urlencodeexceptreserved("a b/c?~"), "a%20b/c?~");
test.eq(string.escape("a b%\n\xe9/"), "a%20b%25%0A\xe9/");
test.eq(string.unescape("a%20b%u00e9"), "a b\u00e9"); test.eq($1, 1); test.eq(string.unescape("a%zz%4"), "a_zz_4"); test.eq($1, 0);
test.eq(string.hexencode(string.hashMD5("a")), "0CC175B9C0F1B6A831C399E269772661");
test.eq(string.hexencode(string.hashSHA1("a")), "86F7E437FAA5A7FCE15D1DDCB9EAEAEA377667B8");
test.eq(string.left(string.hexencode(string.hashSHA256("a")), 16), "CA978112CA1BBDCA");
test.eq(string.left(string.hexencode(string.hashSHA384("a")), 16), "54A59B9F22B0B808"); test.eq(string.left(string.hexencode(string.hashSHA512("a")), 16), "1F40FC92DA241694");
test.eq(string.hash("a") == string.hash("a"), 1); test.eq(string.hash("a") == string.hash("b"), 0);
test.eq(string.len(string.randomBytes(11)), 11); test.eq(string.randomBytes(-1), "");
---
# numbers and addresses
import test;
test.eq(string.intToBytes(258), "\0\0\x01\x02"); test.eq(string.intToBytes(258, 2), "\x01\x02"); test.eq(string.bytesToInt("\x01\x02"), 258);
test.eq(string.intToHex(255), "000000ff"); test.eq(string.hexToInt("ff"), 255); test.eq(string.hexToInt("0x10"), 16); test.eq(string.hexToInt("zz") . string.hexToInt("zz-0x1Fz") . string.hexToInt("0x"), "0-310");
test.eq(string.intToBER(129), "\201\001"); test.eq(string.BERToInt("\201\001"), 129); test.eq(string.BERToInt(string.intToBER(1234567)), 1234567);
test.eq(string.dottedToBytes("10.0.0.1"), "\n\0\0\x01"); test.eq(string.bytesToDotted("\n\0\0\x01"), "10.0.0.1"); test.eq(string.dottedToBytes("x"), ""); test.eq(string.bytesToDotted("x"), "");
test.eq(string.ipmaskmatch("10.0.1.9", "10.0.1.0/24"), 1); test.eq(string.ipmaskmatch("10.0.2.9", "10.0.1.0/255.255.255.0"), 0); test.eq(string.ipmaskmatch("10.0.1.9", "10.0.1."), 1); test.eq(string.ipmaskmatch("10.0.1.9", "10.0.1.9"), 1); test.eq(string.ipmaskmatch("2001:db8::1", "2001:db8::/32"), 1); test.eq(string.ipmaskmatch("x", "10.0.1.9"), 0); test.eq(string.ipmaskmatch("10.0.0.1", "10.0.0.0/255.0.255.0"), 0);
test.eq(string.validIPAddress("1.2.3.4"), 4); test.eq(string.validIPAddress("::1"), 6); test.eq(string.validIPAddress("1.2.3"), 0);
test.eq(string.normalizeipaddress("2001:DB8:0:0::1"), "2001:db8::1"); test.eq(string.normalizeipaddress("x"), "");
test.eq(string.extractHost("a/b:80") . string.extractPort("a/b:80") . string.extractPort("h:0") . string.extractPort("h:99999") . string.extractPort("h:x"), ""); test.eq(string.extractHost("h:80") . string.extractPort("h:80"), "h80"); test.eq(string.extractHost("[::1]:8"), "::1"); test.eq(string.extractPort("[::1]:8"), 8); test.eq(string.extractHost("::1"), "::1"); test.eq(string.extractPort("h"), "");
---
# regular expressions
import test;
test.eq(string.regexmatch("GET /img/7.png", '^(\w+) /(\w+)/(\d+)\.(png|gif)$'), 1); test.eq($1 . $2 . $3 . $4 . $5, "GETimg7png");
test.eq(string.regexmatch("x", "y"), 0); test.eq($1, "GET");
test.eq(string.regexmatch("ABC", "b", "i"), 1); test.eq(string.regexmatch("ABC", "b"), 0);
test.eq(string.regexmatch("a", "(b)?a"), 1); test.eq($1, "");
test.eq(string.regexmatch("\xe9t\xe9", "^.t(.)$"), 1); test.eq($1, "\xe9"); test.eq(string.regexmatch("\xff", "^\xff$"), 1); test.eq(string.regexmatch("\xff", '^\xff$'), 1);
test.eq(string.regexsub("/a/b", "^/a/", "/x/"), "/x/b"); test.eq(string.regexsub("aab", "a", "-"), "-ab"); test.eq(string.regexsub("aAb", "a", "-", "gi"), "--b");
test.eq(string.regexsub("john smith", '(\w+) (\w+)', "$2, $1 \\$1$9"), "smith, john $1"); test.eq(string.regexsub("\xe9a", "a", "b"), "\xe9b");
$re = "(" . "b+)"; test.eq(string.regexmatch("abb", $re), 1); test.eq($1, "bb"); test.eq(string.regexsub("abab", $re, "<$1>", "g"), "a<b>a<b>");
test.eq(string.regexescape("a.b_1*"), "a\\.b_1\\*"); test.eq(string.regexmatch("a.b*", "^" . string.regexescape("a.b*") . "$"), 1);
