// The shop's own script: a cart in this browser, what any shop would tell `dripline`, and a cookie that lets the panel find its visitor.
// Downloads, the tasting and the paid links need nothing here: their elements carry `data-dripline`.
"use strict";

const { shop: SHOP, customer: CUSTOMER } = document.body.dataset;
const COOKIE = "shop_visitor"; // read by the shop's server, for the panel alone

const store = {
  get: (name) => JSON.parse(localStorage.getItem(`shop.${name}`)),
  set: (name, value) => localStorage.setItem(`shop.${name}`, JSON.stringify(value)),
  forget: (...names) => names.forEach((name) => localStorage.removeItem(`shop.${name}`)),
};

function showVisitor() {
  const id = dripline.anonymousId(); // none where the browser asks not to be tracked
  document.cookie = `${COOKIE}=${id ?? ""}; path=${SHOP}/; SameSite=Lax`;
  const known = store.get("account");
  document.querySelector("[data-sign-out]").hidden = !store.get("signed-in");
  document.querySelector("[data-sign-in]").hidden = !known || store.get("signed-in");
}

// The cart

const euros = (amount) => `€${amount}`;

function cart() {
  return store.get("cart") ?? { id: crypto.randomUUID(), items: [] };
}

function told(cart) {
  const value = cart.items.reduce((sum, item) => sum + item.price * item.quantity, 0);
  return { cart_id: cart.id, value, products: cart.items };
}

function change(edit) {
  const changed = cart();
  edit(changed.items);
  changed.items = changed.items.filter((item) => item.quantity > 0);
  store.set("cart", changed);
  dripline.track("Cart Updated", told(changed));
  showCart();
}

function add(tea) {
  change((items) => {
    const found = items.find((item) => item.id === tea.id);
    if (found) found.quantity += 1;
    else items.push({ ...tea, quantity: 1 });
  });
}

function row(template, item) {
  const line = template.content.cloneNode(true);
  const [name, count, price, end] = line.querySelectorAll("th, td");
  name.textContent = item.name;
  count.textContent = item.quantity;
  price.textContent = euros(item.price * item.quantity);
  end.firstChild.addEventListener("click", () => change((items) => { items.find((one) => one.id === item.id).quantity = 0; }));
  return line;
}

function showCart() {
  const { items } = cart();
  document.querySelector("[data-count]").textContent = items.reduce((sum, item) => sum + item.quantity, 0);
  const page = document.querySelector("[data-cart]");
  if (!page) return;
  for (const part of page.querySelectorAll("table, .buttons")) part.hidden = !items.length;
  page.querySelector(".empty").hidden = items.length > 0;
  page.querySelector("tbody").replaceChildren(...items.map((item) => row(page.querySelector("template"), item)));
  page.querySelector("[data-total]").textContent = euros(told(cart()).value);
}

function buy(page) {
  const { value, ...rest } = told(cart());
  dripline.track("Order Completed", { ...rest, order_id: crypto.randomUUID(), total: value });
  store.forget("cart");
  showCart();
  page.querySelector(".said").textContent = page.querySelector(".said").dataset.bought;
}

// Who it is

function identify() {
  dripline.identify(CUSTOMER, store.get("account"));
  store.set("signed-in", true);
}

function signUp(form) {
  const said = form.querySelector(".said");
  const { name, email, newsletter } = form.elements;
  if (!email.value || !email.validity.valid) {
    said.textContent = said.dataset.wrong;
    email.focus();
    return;
  }
  store.set("account", { name: name.value || undefined, email: email.value, locale: form.dataset.locale });
  identify();
  dripline.track("Signed Up");
  if (newsletter.checked) dripline.track("Newsletter Subscribed", { email: email.value });
  said.textContent = newsletter.checked ? `${said.dataset.said} ${said.dataset.letter}` : said.dataset.said;
  showVisitor();
}

function signOut() {
  dripline.reset();
  store.set("signed-in", false);
  store.forget("cart");
  showCart();
  showVisitor();
}

async function leave() {
  dripline.reset();
  store.forget("account", "signed-in", "cart");
  document.cookie = `${COOKIE}=; path=${SHOP}/; Max-Age=0`;
  await fetch(`${SHOP}/leave`, { method: "POST" });
  location.assign(document.body.dataset.home);
}

// Clicks

function beside(element, text) {
  const place = element.closest("section, li")?.querySelector(".said");
  if (place && text) place.textContent = text;
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button, a");
  if (!button) return;
  const { done, add: tea } = button.dataset;
  if (tea) add(JSON.parse(tea));
  beside(button, done ?? (tea && "It is in your cart."));
  if (button.matches("[data-check-out]")) dripline.track("Checkout Started", told(cart()));
  if (button.matches("[data-buy]")) buy(button.closest("[data-cart]"));
  if (button.matches("[data-sign-out]")) signOut();
  if (button.matches("[data-sign-in]")) identify() ?? showVisitor();
  if (button.matches("[data-leave]")) leave();
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-sign-up]")) return;
  event.preventDefault();
  signUp(event.target);
});

showCart();
showVisitor();
