// Every word that the pages say, by language. To translate: copy `en`, name it by its language tag, translate what stands
// behind the colons and keep what stands in braces. Where a text counts something it has a form for each plural category of
// the language (Intl.PluralRules). The browser's first language that is here is taken, else English.

export const texts = {
  en: {
    // Where the order, or the sale, stands: headline and text. `mood` colours it, and is no text.
    steps: {
      loading: { headline: 'One moment', text: 'Looking at the sale.' },
      open: { headline: 'The sale is open', text: 'Order now. If many people come at once you wait in line, and your order is kept.' },
      // Nothing was ordered yet.
      soon: { headline: 'Opening soon', text: 'Join now: your order is sent automatically when the sale opens.' },
      soonFair: { headline: 'Opening soon', text: 'Join now: everyone who joins before the opening has the same chance, and your order is sent automatically.' },
      countdown: { headline: 'Opening soon', text: 'Keep this page open: your order is sent automatically when the sale opens.' },
      early: { headline: 'You are in line', text: 'Everyone who joins before the opening has the same chance: places are drawn by lot. Being faster does not help.' },
      ordering: { headline: 'Ordering…', text: 'This takes a moment.' },
      line: { headline: 'You are in line', text: 'The line moves, and this page updates, without any action from you.' },
      called: { headline: 'It is your turn', text: 'Your order is being placed.', mood: 'good' },
      waiting: { headline: 'You are waiting', text: 'More people want to buy than can be served at once. We keep trying for you.' },
      unavailable: { headline: 'A short pause', text: 'The shop cannot sell right now. You have not bought anything yet, and we keep trying.' },
      unreachable: { headline: 'The shop cannot be reached', text: 'Your place is kept. We keep trying.' },
      unknown: { headline: 'No answer yet', text: 'We do not know yet whether your order arrived. We are asking again; you cannot buy twice.' },
      offline: { headline: 'You are offline', text: 'Your order is kept. We continue as soon as you are back online.' },
      pending: { headline: 'Reserved for you', text: 'Your order is reserved. Its confirmation is on the way.', mood: 'good' },
      accepted: { headline: 'You are in!', text: 'Your order is accepted. Nothing more is needed; you can close this page.', mood: 'good' },
      stored: { headline: 'You are in!', text: 'Your order is accepted and confirmed by the shop. You can close this page.', mood: 'good' },
      rejected: { headline: 'Your order could not be kept', text: 'The shop lost data and had to refuse your order after accepting it. We are sorry; please contact the shop.', mood: 'bad' },
      sold_out: { headline: 'Sold out', text: 'Everything has been sold. You have not bought anything.', mood: 'bad' },
      closed: { headline: 'The sale is over', text: 'Nothing more is sold. You have not bought anything.', mood: 'bad' },
      insufficient: { headline: 'Not enough left', text: 'Only {available} left, fewer than you asked for. You can order fewer.', mood: 'bad' },
      limit_reached: { headline: 'Your limit is reached', text: 'You already have as many as one customer may buy.', mood: 'bad' },
      refused: { headline: 'The order was refused', text: 'The shop said: {reason}.', mood: 'bad' },
      suspended: { headline: 'The sale is paused', text: 'The shop is checking its stock. Orders that were accepted remain valid.' },
      no_sale: { headline: 'Nothing on sale', text: 'The shop does not sell this product right now.' },
      kept: { headline: 'Your order is under way', text: 'It has no answer yet. Asking again is safe: you cannot buy twice.' },
      no_order: { headline: 'The waiting room', text: 'No order came with you. Go to the shop to order.' },
    },
    // What happens next, in the waiting room.
    next: {
      countdown: ['When the sale opens your order is sent automatically, within a few seconds.', 'You can close this page and come back: your order is kept in this browser.'],
      early: ['At the opening the line is drawn by lot and begins to move.', 'When it is your turn your order is placed automatically.', 'You can close this page and come back: your place is kept in this browser.', 'Anyone can check the draw when the sale has ended. It is fair between accounts: the shop must make sure that nobody has many, and you trust it not to choose the result.'],
      line: ['When it is your turn your order is placed automatically, as long as this page is open.', 'Reloading does no harm: your place is kept in this browser, and more tabs do not give you a better one.', 'Anyone can check the draw when the sale has ended. It is fair between accounts: the shop must make sure that nobody has many, and you trust it not to choose the result.'],
      waiting: ['This page keeps trying until there is an answer. You cannot buy twice.', 'Reloading does no harm, but it does not make it faster.'],
    },
    buttons: { buy: 'Buy now', early: 'Join now', ordering: 'Ordering…', again: 'Ask again', more: 'Order another', shop: 'Back to the shop' },
    labels: {
      product: 'Product', quantity: 'Quantity', waited: 'Waiting for', nextTry: 'Next try', order: 'Order number',
      place: 'Your place', speed: 'Speed', expected: 'Your turn', opensAt: 'Opens', next: 'What happens next', way: 'Your order',
      days: 'days', hours: 'hours', minutes: 'minutes', seconds: 'seconds',
    },
    way: { reserved: 'Reserved', accepted: 'Accepted', stored: 'Confirmed by the shop' },
    left: { one: '{count} left', other: '{count} left' },
    perMinute: { one: '{count} person a minute', other: '{count} people a minute' },
    expected: { now: 'any moment', seconds: { one: 'in about {count} second', other: 'in about {count} seconds' }, minutes: { one: 'in about {count} minute', other: 'in about {count} minutes' }, still: 'not known: the line is not moving' },
    nextTry: { now: 'now', later: { one: 'in {count} second', other: 'in {count} seconds' } },
    // Read aloud now and then, while nothing else changes.
    aloud: { line: 'You are number {position}. Your turn is {expected}.' },
    title: '{headline} – {brand}',
  },
};
