# JSON
import test;
test.eq(json.serialize(["b" => [1, 2.5, "x"], "a" => ["k" => "v"]]), '{"a":{"k":"v"},"b":[1,2.5,"x"]}'); test.eq(json.serialize([]), "[]"); test.eq(json.serialize("a\"<\n\x01"), '"a\"<\n\u0001"'); test.eq(json.serialize(7) . json.serialize(math.sqrt(-1)), "7null"); test.eq(json.serialize("\xe9"), '"' . "\xc3\xa9" . '"');
test.eq(json.deserialize('[1, -2.5, 1e3, "a\u00e9\n", true, false, null, [], {"k": {"l": [0]}}]'), [1, -2.5, 1000, "a\xc3\xa9\n", 1, 0, "", [], ["k" => ["l" => [0]]]]); test.eq(json.deserialize('"s"') . json.deserialize("12345678901234567890"), "s1.23456789012346e+19"); test.eq(json.deserialize(' {} '), []);
$j = json.deserialize('{"a": [1]}'); array.push($j["a"], 2); test.eq(json.serialize($j), '{"a":[1,2]}');
test.eq(json.deserialize("{"), ""); ### run: is no JSON, at offset 1
test.eq(json.deserialize("[1] 2"), ""); ### run: is no JSON
test.eq(json.deserialize(""), ""); ### run: is no JSON
test.eq(json.deserialize("[1,]"), ""); ### run: is no JSON
---
# XPath
import test;
$doc = '<?xml version="1.0" encoding="UTF-8"?>
<mybook xmlns="http://www.example.com/book" xmlns:recent="http://www.example.com/newitems">
<item n="1">Item 1</item><recent:item n="2">Item 2</recent:item><!-- c --><item n="3">Item <b>3</b> &amp; more</item><recent:item n="4">Item 4</recent:item>
</mybook>';
$ns = "xmlns:book=http://www.example.com/book xmlns:new=http://www.example.com/newitems";
test.eq(xml.xpath.matchNodeCount($doc, $ns, "//book:mybook/new:item"), 2); test.eq(xml.xpath.matchNodeSet($doc, $ns, "//book:mybook/new:item/text()"), "Item 2Item 4"); test.eq(xml.xpath.matchNodeSet($doc, $ns, "//book:item[2]/@n"), "3"); test.eq(xml.xpath.matchNodeSet($doc, $ns, "//book:item[book:b]"), '<item xmlns="http://www.example.com/book" n="3">Item <b>3</b> &amp; more</item>');
test.eq(xml.xpath.matchNodeSet($doc, $ns, "count(//*)"), "6"); test.eq(xml.xpath.matchNodeSet($doc, $ns, "string(//book:b/..)"), "Item 3 & more"); test.eq(xml.xpath.matchNodeSet("<a><b/></a>", "", "/a/b"), "<b></b>"); test.eq(xml.xpath.matchNodeCount("<a><b i='1'/><b/></a>", "", "//b[@i='1']/following-sibling::b"), 1); test.eq(xml.xpath.matchNodeCount("<a/>", "", "//nothing"), 0); test.eq(xml.xpath.matchNodeSet($doc, "", "//comment()"), " c ");
test.eq(xml.xpath.matchNodeCount($doc, "", "//item"), 0); # a name without prefix is in no namespace
test.eq(xml.xpath.matchNodeCount("<a>", "", "//a"), -1); ### run: the document is no XML
test.eq(xml.xpath.matchNodeSet("<a/>", "", "//["), ""); ### run: the query '//\[' is wrong
test.eq(xml.xpath.matchNodeCount("<a/>", "junk", "//a"), -1); ### run: 'junk' names no namespace
test.eq(xml.xpath.matchNodeCount("", "", "//a"), -1); ### run: the document is no XML
test.eq(xml.xpath.matchNodeCount("<a>&xxe;</a>", "", "//a"), -1); ### run: the document is no XML
test.eq(xml.xpath.matchNodeCount("<a/>", "", "//x:a"), -1); ### run: is wrong
---
# a query cannot take for ever
$doc = "<a>"; for ($i = 0; $i < 400; $i++) { $doc .= "<b>"; if ($i % 2) $doc .= "</b></b>"; } $doc .= "</a>";
xml.xpath.matchNodeCount($doc, "", "//*[//*[//*[//*[//*='x']]]]"); ### abort: used more than 100000 instructions
