// A secret that the API tells once: <form data-api="POST …" data-once="dialog id"> shows the `token` of the answer in the
// [data-secret] of that dialog. It leaves the page with the dialog.
function show(dialog, secret) {
  const field = dialog.querySelector("[data-secret]");
  field.value = secret;
  dialog.addEventListener("close", () => (field.value = ""), { once: true });
  dialog.showModal();
  field.select();
}

export function startOnce() {
  document.addEventListener("saved", (event) => {
    const dialog = document.getElementById(event.target.dataset.once ?? "");
    if (dialog && event.detail.token) show(dialog, event.detail.token);
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const field = document.getElementById(button.dataset.copy);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    } catch {
      // Without leave to use the clipboard the text is selected, to be copied by hand.
    }
  });
}
