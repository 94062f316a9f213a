package trafficscript

import (
	"context"
	"errors"
	"io"
	"strings"
)

// Data is what came from one end of a connection of a generic protocol
// (client_first, server_first, stream, ...) and was not passed on yet. It belongs
// to the goroutine that runs the rules. After the rules the Host passes on
// Message, and then whatever else comes, if End marked no end.
type Data struct {
	// Bytes came; rules read and replace them.
	Bytes []byte
	// Ends tells that request.endsAt or request.endsWith marked the end of the
	// present message: its length in Bytes is End, and what is behind belongs to
	// the next message. Otherwise the message goes on.
	Ends bool
	End  int
	// Closed: response.close; nothing more is read from this end.
	Closed bool

	// More waits for further bytes and returns at least one, or an error: io.EOF
	// when the end sends no more. The slice is the rule's to keep. nil: nothing
	// more comes.
	More func(ctx context.Context) ([]byte, error)
	// Flush sends bytes on at once, for response.flush. nil: nowhere to.
	Flush func(ctx context.Context, b []byte) error
}

// Message returns those of Bytes that belong to the present message.
func (d *Data) Message() []byte {
	if d.Ends {
		return d.Bytes[:min(d.End, len(d.Bytes))]
	}
	return d.Bytes
}

// rawFunctions are request.* and response.* on the bytes of generic protocols.
// On HTTP they read the message's text, and change nothing.
var rawFunctions = []function{
	fn("request.get", 0, 1, func(r *run, a []value) value { return getSoFar(r, r.clientData(), a) }).in(inRequest | inResponse),
	fn("connection.getdata", 1, 1, func(r *run, a []value) value { return getSoFar(r, r.clientData(), a) }).in(inRequest | inResponse).replacedBy("request.get"),
	fn("response.get", 0, 1, func(r *run, a []value) value {
		d := r.serverData()
		if len(a) > 0 {
			return getSoFar(r, d, a)
		}
		for r.more(d) { // all there is
		}
		return r.text(string(d.Message()))
	}).in(inResponse),

	length("request.getLength", (*run).clientData, inRequest|inResponse),
	length("connection.getDataLen", (*run).clientData, inRequest|inResponse).replacedBy("request.getLength"),
	length("response.getLength", (*run).serverData, inResponse),

	fn("request.getLine", 0, 2, func(r *run, a []value) value { return getLine(r, r.clientData(), a) }).in(inRequest | inResponse),
	fn("response.getLine", 0, 2, func(r *run, a []value) value { return getLine(r, r.serverData(), a) }).in(inResponse),
	fn("connection.getline", 1, 1, func(r *run, a []value) value {
		line := getLine(r, r.clientData(), []value{stringValue("\n"), a[0]})
		return stringValue(strings.TrimSuffix(line.str, "\n"))
	}).in(inRequest | inResponse).replacedBy("request.getLine"),

	fn("request.endsAt", 1, 1, func(r *run, a []value) value {
		d, n := r.writableData("request.endsAt"), r.toInt(a[0])
		if d == nil {
			return value{}
		}
		if n < 1 {
			r.misuse("request.endsAt: a request has at least 1 byte, not %d", n)
			return value{}
		}
		d.Ends = false
		for int64(len(d.Bytes)) < n && r.more(d) {
		}
		d.Ends, d.End = true, clamp(n, len(d.Bytes))
		return r.text(string(d.Message()))
	}).in(inRequest),
	fn("request.endsWith", 1, 1, func(r *run, a []value) value {
		d := r.writableData("request.endsWith")
		if d == nil {
			return value{}
		}
		d.Ends = false
		line := getLine(r, d, a)
		if r.ended == Finished {
			d.Ends, d.End = true, len(line.str)
		}
		return line
	}).in(inRequest),

	replaceData("request.set", inRequest, (*run).clientData),
	replaceData("connection.setData", inRequest, (*run).clientData).replacedBy("request.set"),
	replaceData("response.set", inResponse, (*run).serverData),
	fn("request.skip", 1, 1, func(r *run, a []value) value {
		d, n := r.writableData("request.skip"), r.toInt(a[0])
		if d == nil || n <= 0 {
			return value{}
		}
		for int64(len(d.Bytes)) < n && r.more(d) {
		}
		r.drop(d, clamp(n, len(d.Message())))
		return value{}
	}).in(inRequest),
	fn("response.append", 1, 1, func(r *run, a []value) value {
		d, text := r.writableData("response.append"), r.toString(a[0])
		if d != nil && r.alloc(len(text)) {
			d.Bytes = append(d.Bytes, text...)
		}
		return value{}
	}).in(inResponse),
	fn("response.flush", 0, 1, func(r *run, a []value) value {
		d := r.writableData("response.flush")
		if d == nil || d.Flush == nil || r.ended != Finished {
			return value{}
		}
		n := clamp(r.intArg(a, 0, int64(len(d.Bytes))), len(d.Bytes))
		defer r.waits()()
		if err := d.Flush(r.ctx, d.Bytes[:n]); err != nil {
			r.abort("response.flush: %s", waitError(err))
			return value{}
		}
		r.drop(d, n)
		return value{}
	}).in(inResponse),
	fn("response.close", 0, 0, func(r *run, _ []value) value {
		if d := r.writableData("response.close"); d != nil {
			d.Closed = true
		}
		return value{}
	}).in(inResponse),
}

// clientData is what the client sent; of HTTP, the text of the request.
func (r *run) clientData() *Data {
	if d := r.tx.ClientData; d != nil {
		return d
	}
	return messageData(r.requestText(), func() string { return r.requestBody(0) })
}

// serverData is what the node sent.
func (r *run) serverData() *Data {
	if d := r.tx.ServerData; d != nil || r.tx.ClientData != nil {
		if d == nil { // no response: nothing came
			d = new(Data)
		}
		return d
	}
	return messageData(r.responseText()+"\r\n", func() string { return r.responseBody(0) })
}

// messageData is an HTTP message as bytes: its head, and then its body.
func messageData(head string, body func() string) *Data {
	rest := false
	return &Data{Bytes: []byte(head), More: func(context.Context) ([]byte, error) {
		if rest {
			return nil, io.EOF
		}
		rest = true
		if b := body(); b != "" {
			return []byte(b), nil
		}
		return nil, io.EOF
	}}
}

// writableData returns the data of the phase if it is a generic protocol's. HTTP
// messages are changed by the functions for HTTP alone.
func (r *run) writableData(function string) *Data {
	d := r.tx.ClientData
	if strings.HasPrefix(function, "response.") && d != nil {
		d = r.tx.ServerData
	}
	if d == nil {
		r.misuse("%s is for generic protocols: use the http functions", function)
	}
	return d
}

// more waits for further bytes; false when none come.
func (r *run) more(d *Data) bool {
	if d.Closed || d.More == nil || r.ended != Finished || d.Ends {
		return false
	}
	done := r.waits()
	b, err := d.More(r.ctx)
	done()
	if err != nil && !errors.Is(err, io.EOF) {
		r.abort("no more data can be read: %s", waitError(err))
	}
	if err != nil || !r.alloc(len(b)) {
		return false
	}
	d.Bytes = append(d.Bytes, b...)
	r.buffered(len(d.Bytes))
	return true
}

// drop removes the first n bytes.
func (r *run) drop(d *Data, n int) {
	d.Bytes = d.Bytes[n:]
	d.End = max(d.End-n, 0)
}

// getSoFar returns the first count bytes, for which it waits; without a count,
// what has come.
func getSoFar(r *run, d *Data, a []value) value {
	n := r.intArg(a, 0, 0)
	if n <= 0 {
		return r.text(string(d.Message()))
	}
	for int64(len(d.Bytes)) < n && r.more(d) {
	}
	return r.text(string(d.Message()[:clamp(n, len(d.Message()))]))
}

func length(name string, of func(*run) *Data, in phases) function {
	return fact(name, func(r *run) value { return intValue(int64(len(of(r).Message()))) }).in(in)
}

func replaceData(name string, in phases, of func(*run) *Data) function {
	return fn(name, 1, 1, func(r *run, a []value) value {
		kind := "request."
		if in == inResponse {
			kind = "response."
		}
		d, text := r.writableData(kind+"set"), r.toString(a[0])
		if d == nil || !r.alloc(len(text)) {
			return value{}
		}
		next := d.Bytes[len(d.Message()):]
		d.Bytes, d.End = append([]byte(text), next...), len(text)
		return value{}
	}).in(in)
}

// getLine returns the bytes from an offset to the first match of a terminator,
// with it, and sets $1 to where the next line begins. What has no terminator
// within trafficscript!memory_warning bytes is returned as it is.
func getLine(r *run, d *Data, a []value) value {
	terminator, from := "\n", r.intArg(a, 1, 0)
	if len(a) > 0 {
		if s := r.toString(a[0]); s != "" {
			terminator = s
		}
	}
	re := r.regex(terminator, false)
	if re == nil || from < 0 {
		return value{}
	}
	for {
		text := ""
		if m := d.Message(); from < int64(len(m)) {
			text = string(m[from:])
		}
		if !r.work(len(text)) || !r.alloc(len(text)) {
			return value{}
		}
		found := r.find(re, text, 1)
		if r.ended != Finished {
			return value{}
		}
		if len(found.at) > 0 {
			end := found.at[0][1]
			if found.widened {
				end = len(narrow(found.subject[:end]))
			}
			text = text[:end]
		} else if limit := r.limits.MemoryWarning; limit <= 0 || len(text) < limit {
			if r.more(d) {
				continue
			}
		} else {
			text = text[:limit]
		}
		r.captures[1] = intValue(from + int64(len(text)))
		return stringValue(text)
	}
}
