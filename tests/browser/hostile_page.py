"""A web server whose pages attack the ClickHouse server on another port of the same machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Each way by which a page makes a browser send something, with the name of the session that a success would leave.
# `URL(name)` is an address with a query, `POST` the address for one in the body.
_ATTACKS = """
const done = [];
const wait = (element, name) => done.push(new Promise(end => { element.onload = element.onerror = end; }));
const add = (tag, attributes) => {
  const element = Object.assign(document.createElement(tag), attributes);
  wait(element); document.body.append(element); return element;
};
for (const method of ['GET', 'HEAD', 'POST'])
  for (const mode of ['no-cors', 'cors'])
    done.push(fetch(URL(`fetch-${method}-${mode}`), {method, mode}).catch(() => 0));
done.push(fetch(POST('fetch-body'), {method: 'POST', mode: 'no-cors', body: SQL}).catch(() => 0));
navigator.sendBeacon(POST('beacon'), SQL);
add('img', {src: URL('img')});
add('script', {src: URL('script')});
add('link', {rel: 'stylesheet', href: URL('link')});
add('iframe', {src: URL('iframe')});
add('iframe', {srcdoc: `<img src="${URL('srcdoc')}">`});
add('iframe', {sandbox: '', src: URL('sandbox')});
add('embed', {src: URL('embed')});
add('object', {data: URL('object')});
add('video', {src: URL('video')});
for (const [name, method, enctype] of
     [['form-get', 'GET', ''], ['form-text', 'POST', 'text/plain'], ['form-parts', 'POST', 'multipart/form-data']]) {
  add('iframe', {name});
  const action = method === 'GET' ? URL(name) : POST(name);
  const form = Object.assign(document.createElement('form'), {method, enctype: enctype || undefined, target: name});
  form.action = action;
  for (const [key, value] of [['query', SQL], ['session_id', name]]) {
    form.append(Object.assign(document.createElement('input'), {name: key, value}));
  }
  document.body.append(form); form.submit();
}
try {
  const socket = new WebSocket(URL('websocket').replace('http', 'ws'));
  done.push(new Promise(end => { socket.onerror = socket.onclose = end; }));
  const events = new EventSource(URL('events'));
  done.push(new Promise(end => { events.onerror = () => { events.close(); end(); }; }));
} catch (error) { }
Promise.race([Promise.allSettled(done), new Promise(end => setTimeout(end, 8000))]).then(() => fetch('/done'))
  .then(() => { document.title = 'all tried'; });
"""
NAMES = [
    *(f"fetch-{method}-{mode}" for method in ("GET", "HEAD", "POST") for mode in ("no-cors", "cors")),
    *("fetch-body", "beacon", "img", "script", "link", "iframe", "srcdoc", "sandbox", "embed", "object", "video"),
    *("form-get", "form-text", "form-parts", "websocket", "events", "navigation"),
]


def page(target: str, sql: str) -> str:
    """HTML that tries everything on `target`, an origin, but a navigation."""
    helpers = (
        f"const SQL = {sql!r};\n"
        f"const POST = name => {target!r} + '/?session_id=' + name;\n"
        "const URL = name => POST(name) + '&query=' + encodeURIComponent(SQL);\n"
    )
    return f"<!doctype html><body><script>{helpers}{_ATTACKS}</script></body>"


class HostileServer:
    """Serves `/` (all attacks), `/navigation` (leads the window to the target) and notes what was asked for."""

    def __init__(self, target: str, sql: str) -> None:
        asked: list[str] = []
        pages = {
            "/": page(target, sql),
            "/navigation": (
                "<!doctype html><script>location.href = "
                f"{target + '/?session_id=navigation&query='!r} + encodeURIComponent({sql!r})</script>"
            ),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                body = pages.get(self.path, "").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=UTF-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is http.server's
                pass

        self.asked = asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
