//! Collections and active plugins, as the core last told them. One row.

use bytes::Bytes;
use skerry_channel::message::Catalog;

use super::{Error, Kind, decode_value, encode_value};

const ROW: &str = "catalog";

pub(crate) fn key() -> Bytes {
    Kind::Catalog.alone()
}

pub(crate) fn encode(catalog: &Catalog) -> Bytes {
    encode_value(catalog)
}

pub(crate) fn decode(value: &Bytes) -> Result<Catalog, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use skerry_channel::message::Collection;
    use skerry_model::policy::Policy;
    use skerry_model::{CatalogVersion, CollectionId};

    use super::*;
    use crate::keys::testing::check_golden;

    #[test]
    fn golden() {
        let collection = Collection {
            id: CollectionId::new(7),
            name: "tides".parse().unwrap(),
            policy: Policy::Lww,
            plugin: None,
            world: None,
            template: None,
            text: vec!["/body".to_owned()],
            settle: false,
            inbox: None,
        };
        let catalog = Catalog { version: CatalogVersion::new(2), collections: vec![collection] };
        check_golden(&key(), "03");
        check_golden(
            &encode(&catalog),
            "01a26776657273696f6e026b636f6c6c656374696f6e7381a662696407646e616d6565746964657366706f6c696379636c777766706c7567696ef66874656d706c617465f6647465787481652f626f6479",
        );
        assert_eq!(decode(&encode(&catalog)).unwrap(), catalog);
    }
}
