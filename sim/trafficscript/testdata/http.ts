# request line
import test;
test.eq(http.getMethod() . http.getVersion(), "GETHTTP/1.1"); test.eq(http.getPath(), "/a b/c"); test.eq(http.getRawURL(), "/a%20b/c?x=1&y=%41&x=2"); test.eq(http.getQueryString(), "x=1&y=A&x=2"); test.eq(http.getRawQueryString(), "x=1&y=%41&x=2"); test.eq(http.getHostHeader(), "shop.example.com");
http.setMethod("PUT"); test.eq(http.getMethod(), "PUT");
http.setPath("/ü x%20?"); test.eq(http.getRawURL(), "/%C3%BC%20x%20?"); http.setPath("/p"); http.setQueryString("a=\n"); test.eq(http.getRawURL(), "/p?a=%0A"); http.setPath("/q"); test.eq(http.getRawURL(), "/q?a=%0A");
http.setEscapedPath("/a%20 "); test.eq(http.getRawURL(), "/a%2520%20?a=%0A"); http.setRawPath("r?s"); test.eq(http.getRawURL(), "/r?s"); http.setRawQueryString("t=%"); test.eq(http.getRawURL(), "/r?t=%"); test.eq(http.getQueryString(), "t=_"); http.setRawQueryString(""); test.eq(http.getRawURL(), "/r");
http.setRawPath("/a b"); ### run: cannot hold the byte 0x20
http.setRawQueryString("x HTTP/1.1\r\nHost: y"); ### run: cannot hold the byte 0x20
http.setMethod("GET /"); ### run: is no request method
test.eq(http.getRawURL() . http.getMethod(), "/rPUT");
---
# normalised paths
import test;
test.eq(http.normalizePath("/a//b/./c/../d"), "/a/b/d"); test.eq(http.normalizePath("/a/.."), "/"); test.eq(http.normalizePath("/a/"), "/a/"); test.eq(http.normalizePath("/a/."), "/a/"); test.eq(http.normalizePath("/"), "/"); test.eq(http.normalizePath("/../x"), ""); test.eq(http.normalizePath("/a\0"), ""); test.eq(http.normalizePath(""), ""); test.eq(http.normalizePath("/a/b/.."), "/a/"); test.eq(http.normalizePath("/...//."), "/.../");
---
# request headers
import test;
test.eq(http.getHeader("user-agent"), "curl"); test.eq(http.getHeader("ACCEPT"), "text/html, text/plain"); test.eq(http.getHeader("none"), ""); test.eq(http.getHeader("host"), "Shop.Example.COM.:8080");
test.eq(http.headerExists("accept") . http.headerExists("none"), "10"); test.eq(http.listHeaderNames(), ["Host", "Accept", "Cookie", "User-Agent"]);
test.eq(http.getHeaderNames(), "Host Accept Cookie User-Agent"); ### warning: deprecated
$h = http.getHeaders(); test.eq($h["User-Agent"], "curl");
http.setHeader("x-new", "1"); http.addHeader("X-New", "2"); test.eq(http.getHeader("X-NEW"), "1, 2"); http.setHeader("X-New", "3"); test.eq(http.getHeader("x-new"), "3"); http.removeHeader("x-new"); test.eq(http.headerExists("x-new"), 0);
http.setHeader("Host", "other"); test.eq(http.getHostHeader(), "other"); http.setHeader("X-Evil", "a\r\nX-Injected: b"); test.eq(http.getHeader("X-Evil"), "a  X-Injected: b");
http.setHeader("Connection", "close"); http.setHeader("Transfer-Encoding", "chunked"); http.addHeader("content-length", "5"); test.eq(http.headerExists("Connection") . http.headerExists("Transfer-Encoding") . http.headerExists("Content-Length"), "000");
http.setHeader("a b", "c"); ### run: 'a b' is no header name
http.scrubRequestHeaders("accept User-Agent", "x"); test.eq(http.listHeaderNames(), ["Host", "Accept", "User-Agent"]);
test.eq(http.getRequest(), "GET /a%20b/c?x=1&y=%41&x=2 HTTP/1.1\r\nHost: other\r\nAccept: text/html\r\nAccept: text/plain\r\nUser-Agent: curl\r\n\r\n");
---
# cookies and forms
import test;
test.eq(http.getCookie("session") . http.getCookie("lang") . http.getCookie("Lang"), "abcde"); test.eq(http.getCookies(), ["session" => "abc", "lang" => "de"]);
test.eq(http.cookie("lang"), "de"); ### warning: deprecated
http.setCookie("lang", "en; x"); http.setCookie("new", "1"); test.eq(http.getHeader("Cookie"), "session=abc; lang=en%3B x; new=1"); http.removeCookie("session"); http.removeCookie("lang"); test.eq(http.getHeader("Cookie"), "new=1"); http.removeCookie("new"); test.eq(http.headerExists("Cookie"), 0);
http.setCookie("a=b", "c"); ### run: 'a=b' is no cookie name
test.eq(http.getFormParam("x"), 1); test.eq(http.getFormParam("x", ","), "1,2"); test.eq(http.getFormParam("y"), "A"); test.eq(http.doesFormParamExist("x") . http.doesFormParamExist("z"), "10"); test.eq(http.listFormParamNames(), ["x", "y"]); test.eq(http.getFormParamNames("+"), "x+y"); test.eq(http.getFormParams(), ["x" => ["1", "2"], "y" => "A"]);
http.setMethod("POST"); http.setHeader("Content-Type", "application/x-www-form-urlencoded"); http.setBody("x=3+4&z=%2B"); http.setRawQueryString("x=1"); test.eq(http.getFormParam("x", "|") . http.getFormParam("z"), "1|3 4+");
---
# bodies
import test;
test.eq(http.getBody(), "line one\r\nline two\n"); test.eq(http.getBody(4), "line"); test.eq(http.getBodyLines(), ["line one", "line two"]);
http.setBody("short"); test.eq(http.getBody() . http.getBody(2), "shortsh"); test.eq(http.getHeader("Content-Length"), 5); http.setIdempotent(1);
---
# the response is not there in a request rule; cookies may be set ahead
import test;
test.eq(http.getResponseHeader("Content-Type") . http.getResponseCode() . http.getResponseBody() . http.responseHeaderExists("x"), ""); http.setResponseHeader("x", "y"); http.setResponseCode(200); http.setResponseCookie("c", "d"); test.eq(request.retry(), "");
---
# response
import test;
test.eq(rule.getstate(), "RESPONSE"); test.eq(connection.getNode(), "10.0.0.1:80"); test.eq(http.getResponseCode() . http.getResponseVersion(), "404HTTP/1.1"); test.eq(http.getResponseHeader("content-type"), "text/plain"); test.eq(http.responseHeaderExists("x"), 0);
---
# response
import test;
test.eq(http.getResponse(), "HTTP/1.1 404 Nope\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\nContent-Type: text/plain\r\nSet-Cookie: a=1; path=/\r\nSet-Cookie: b=2; secure\r\n");
test.eq(http.listResponseHeaderNames(), ["Content-Encoding", "Content-Length", "Content-Type", "Set-Cookie"]); $h = http.getResponseHeaders(); test.eq($h["Content-Type"], "text/plain");
test.eq(http.getResponseHeaderNames(), "Content-Encoding Content-Length Content-Type Set-Cookie"); ### warning: deprecated
http.setResponseHeader("x", 1); http.addResponseHeader("X", 2); test.eq(http.getResponseHeader("x"), "1, 2"); http.removeResponseHeader("X"); test.eq(http.responseHeaderExists("x"), 0);
test.eq(http.getResponseCookie("a") . http.getResponseCookie("b") . http.getResponseCookie("c"), "12"); test.eq(http.getResponseCookies(), ["a" => "1", "b" => "2"]); http.setResponseCookie("a", 3); test.eq(http.getResponseHeader("set-cookie"), "b=2; secure, a=3; path=/"); http.setResponseCookie("a", 4, "httponly"); http.removeResponseCookie("b"); test.eq(http.getResponseHeader("set-cookie"), "a=4; httponly");
test.eq(http.getResponseBody() . http.getResponseBody(3), "not here\nnot"); test.eq(http.getResponseBodyLines(), ["not here"]); http.setResponseBody("new"); test.eq(http.getResponseBody() . http.getResponseHeader("Content-Length") . http.responseHeaderExists("Content-Encoding"), "new30"); http.setResponseBody("zip", "gzip"); test.eq(http.getResponseHeader("Content-Encoding"), "gzip");
http.setResponseCode(503); test.eq(http.getResponseCode(), 503); http.setResponseCode("410 Gone"); http.setResponseCode(404, "Lost"); test.eq(string.left(http.getResponse(), 17), "HTTP/1.1 404 Lost");
http.setResponseCode("nonsense"); ### run: 'nonsense' is no response code
http.scrubResponseHeaders("content-type"); test.eq(http.listResponseHeaderNames(), ["Content-Length", "Content-Type"]);
http.setHeader("X-Late", 1); test.eq(http.headerExists("X-Late"), 0);
---
# parts of a body
import test;
http.setHeader("Content-Type", 'multipart/form-data; boundary="B"');
http.setBody("--B\r\nContent-Disposition: form-data; name=a\r\n\r\none\r\n--B\r\nContent-Type: text/html\r\nX-A: 1\r\n\r\ntwo\nlines\r\n--B--\r\n");
test.eq(http.getMultipartAttachment(1), "two\nlines"); test.eq($1 . " " . $2, "text/html Content-Type: text/html\r\nX-A: 1\r\n"); test.eq(http.getMultipartAttachment(0) . $1, "one"); test.eq(http.getMultipartAttachment(2) . http.getMultipartAttachment(-1) . http.getMultipartAttachment(99999), "");
http.setHeader("Content-Type", "text/plain"); test.eq(http.getMultipartAttachment(0), "");
test.eq(response.getRemoteIP() . response.getRemotePort() . response.getLocalIP() . response.getLocalPort(), "00");
---
# response
import test;
test.eq(response.getRemoteIP() . ":" . response.getRemotePort() . " " . response.getLocalIP() . ":" . response.getLocalPort(), "10.0.0.1:80 10.0.0.99:5555");
